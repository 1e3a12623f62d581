//! `slipway render`: the Pod of a run, from files, without a cluster.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{Error, Exit, FileArguments, Format, print_text};
use crate::local::{self, Files, Located, Note};
use crate::plan::{Expansion, Settings, expand, not_built, validate};

pub const EXAMPLES: &str = "\
Examples:
  slipway render -f samples/hello
  slipway render -f strategy.yaml build.yaml run.yaml -o json
  kustomize build . | slipway render -f - --buildrun nightly | kubectl apply -f -

What the files do not hold (Secrets, ConfigMaps, ServiceAccounts) is assumed to exist and listed on standard error.";

#[derive(Debug, clap::Args)]
pub struct RenderArguments {
    #[command(flatten)]
    files: FileArguments,
    /// Name of the BuildRun, where the files hold several
    #[arg(long, value_name = "NAME")]
    buildrun: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Format,
}

pub fn render(arguments: &RenderArguments) -> Result<Exit, Error> {
    let outcome = plan(arguments);
    for Note(note) in &outcome.notes {
        eprintln!("note: {}", one_line(note));
    }
    match outcome.expansion {
        Ok(expansion) => {
            print_text(&text(&expansion, arguments.output)?)?;
            Ok(Exit::Done)
        }
        Err(problems) => {
            for problem in problems {
                eprintln!("error: {}", one_line(&problem));
            }
            Ok(Exit::Refused)
        }
    }
}

/// What comes of the files.
struct Outcome {
    /// The pod, or one line for each problem.
    expansion: Result<Expansion, Vec<String>>,
    notes: Vec<Note>,
}

fn plan(arguments: &RenderArguments) -> Outcome {
    let (documents, errors) = local::read(&arguments.files.files);
    let (files, invalid, mut notes) = Files::of(documents);
    let mut problems: Vec<String> =
        errors.into_iter().map(|error| format!("{:#}", anyhow::Error::new(error))).collect();
    let unreadable = !problems.is_empty() || files.incomplete;
    problems.extend(invalid.iter().map(line));
    if unreadable {
        // What is missing because it could not be read is no further problem of the others.
        return Outcome { expansion: Err(problems), notes };
    }
    let chosen = match local::choose(&files, arguments.buildrun.as_deref(), Timestamp::now()) {
        Ok(chosen) => chosen,
        Err(error) => {
            problems.push(error.to_string());
            return Outcome { expansion: Err(problems), notes };
        }
    };
    match validate(&chosen.loaded, &Settings::default()) {
        Ok(checked) if problems.is_empty() => {
            notes.extend(chosen.assumptions);
            let expansion = expand(&checked);
            notes.extend(not_built(&expansion.pod).into_iter().map(Note));
            Outcome { expansion: Ok(expansion), notes }
        }
        outcome => {
            let refusals = outcome.err().unwrap_or_default();
            problems.extend(refusals.into_iter().map(|refusal| line(&files.locate(refusal))));
            Outcome { expansion: Err(problems), notes }
        }
    }
}

/// File, object, field, reason and message of a refusal, in one line.
fn line(located: &Located) -> String {
    let refusal = &located.refusal;
    let file = located.file.as_ref().map(|file| format!("{file}: ")).unwrap_or_default();
    let field =
        if refusal.field.is_empty() { String::new() } else { format!("{}: ", refusal.field) };
    format!("{file}{}: {field}{}: {}", refusal.at, refusal.reason, refusal.message)
}

/// Names and texts from files may hold anything, also what moves a terminal's cursor.
fn one_line(text: &str) -> String {
    let shown =
        |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(shown).collect()
}

fn text(expansion: &Expansion, format: Format) -> Result<String, Error> {
    let pod = json!(expansion.pod);
    let document = match &expansion.service_account {
        None => pod,
        Some(account) => json!({ "apiVersion": "v1", "kind": "List", "items": [account, pod] }),
    };
    match format {
        Format::Json => Ok(format!("{document:#}\n")),
        Format::Yaml => serde_saphyr::to_string::<Value>(&document)
            .map_err(|source| Error::Print { name: "the Pod".into(), source }),
    }
}
