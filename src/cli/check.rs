//! `slipway check`: what is wrong with objects in files or on a cluster, and what may be.

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::objects::{ObjectArguments, Objects};
use super::plan::tell;
use super::{Error, Exit, Format, print_object, print_text};
use crate::local;
use crate::plan::{Finding, Settings, Severity};
use crate::view;

pub const EXAMPLES: &str = "\
Examples:
  slipway check -f samples/hello
  slipway check -f strategy.yaml -o json | jq -r '.findings[] | select(.severity == \"warning\").message'
  kustomize build . | slipway check -f -
  slipway check -n team --from-cluster app            the Build app with all that it names
  slipway check --from-cluster app -f strategy.yaml   the same with an edited strategy

Every BuildRun, Build, BuildStrategy and ClusterBuildStrategy is judged as if the files were all that was applied: a Build whose strategy is in none of them is refused, as its status would say. No BuildRun is implied.
Secrets, ConfigMaps and ServiceAccounts that the files do not hold are assumed to exist and listed on standard error. With --from-cluster all that the files do not hold is looked up.
A refusal names the object whose status would carry the reason, and file and field of the text at fault, which may stand in another object.
Warnings never change the exit code; docs/check.md explains each.";

#[derive(Debug, clap::Args)]
pub struct CheckArguments {
    #[command(flatten)]
    objects: ObjectArguments,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Output {
    /// A line for each finding
    Text,
    /// {"findings": [{"severity", "object", "file", "field", "reason", "message"}]}
    Json,
}

/// The whole of what is printed as JSON.
#[derive(Serialize)]
struct Found<'a> {
    findings: &'a [Finding],
}

pub fn check(arguments: &CheckArguments) -> Result<Exit, Error> {
    let Objects { documents, errors, untold } = arguments.objects.load()?;
    let now = Timestamp::now();
    let checkup = local::check(documents, &errors, &Settings::default(), now, untold);
    tell(&checkup.notes);
    match arguments.output {
        Output::Text => print_text(&view::findings(&checkup.findings))?,
        Output::Json => {
            let found = Found { findings: &checkup.findings };
            print_object("the findings", &found, Format::Json)?;
        }
    }
    let is_refused = checkup.findings.iter().any(|finding| finding.severity == Severity::Refusal);
    Ok(if is_refused { Exit::Refused } else { Exit::Done })
}
