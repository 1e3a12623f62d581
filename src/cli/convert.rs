//! `slipway convert`: objects in the other version of the API.

use crate::Chain;
use crate::api::Version;
use crate::local::{self, Converted};

use super::plan::{Refused, line, tell};
use super::{Error, Exit, FileArguments, Format, print_object};

pub const EXAMPLES: &str = "\
Examples:
  slipway convert -f buildstrategy.yaml --to v1beta1
  slipway convert -f manifests/ --to v1beta1 | kubectl apply -f -
  kubectl get builds.v1beta1.shipwright.io app -o yaml | slipway convert -f - --to v1alpha1 -o json

Of one document the bare object is printed, of several a List. Objects of other groups are printed as they are.
What the asked version has no field for is kept in the annotation slipway.dev/preserved and comes back on the way back, unless somebody changed the field since: it is the conversion that a cluster does. docs/conversion.md lists what becomes of each field.";

#[derive(Debug, clap::Args)]
pub struct ConvertArguments {
    #[command(flatten)]
    files: FileArguments,
    /// Version to convert to
    #[arg(long, value_enum)]
    to: Target,
    /// How to print
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Target {
    /// shipwright.io/v1beta1
    V1beta1,
    /// shipwright.io/v1alpha1
    V1alpha1,
}

pub fn convert(arguments: &ConvertArguments) -> Result<Exit, Error> {
    let to = match arguments.to {
        Target::V1beta1 => Version::V1beta1,
        Target::V1alpha1 => Version::V1alpha1,
    };
    let (documents, errors) = local::read(&arguments.files.files);
    let mut problems: Vec<String> = errors.iter().map(|error| Chain(error).to_string()).collect();
    let converted = local::convert(documents, to);
    if converted.is_none() && problems.is_empty() {
        problems.push("the files hold no object; add one".into());
    }
    let invalid = converted.iter().flat_map(|converted| &converted.problems);
    problems.extend(invalid.map(line));
    match converted {
        Some(Converted { object, notes, .. }) if problems.is_empty() => {
            tell(&notes);
            print_object("the objects", &object, arguments.output)?;
            Ok(Exit::Done)
        }
        converted => {
            let notes = converted.map(|converted| converted.notes).unwrap_or_default();
            Refused { problems, notes }.tell();
            Ok(Exit::Refused)
        }
    }
}
