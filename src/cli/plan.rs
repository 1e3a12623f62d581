//! From the files of a command line to a run that is ready to start, for every verb that needs one.

use k8s_openapi::jiff::Timestamp;

use super::objects::{ObjectArguments, Objects};
use super::{Error, FileArguments, complain};
use crate::Chain;
use crate::local::{self, Commands, Files, Located, Note};
use crate::plan::{Checked, Expansion, Settings, expand, validate};
use crate::view::one_line;

/// The files of a run, and which run of them.
#[derive(Debug, clap::Args)]
pub struct RunArguments {
    #[command(flatten)]
    pub files: FileArguments,
    /// Name of the BuildRun, where the files hold several
    #[arg(long, value_name = "NAME")]
    pub buildrun: Option<String>,
}

/// The objects of a run that is only looked at, and which run of them.
#[derive(Debug, clap::Args)]
pub struct PlanArguments {
    #[command(flatten)]
    pub objects: ObjectArguments,
    /// Name of the BuildRun, where there are several
    #[arg(long, value_name = "NAME")]
    pub buildrun: Option<String>,
}

/// A run that is ready to start.
#[derive(Debug)]
pub struct Planned {
    pub checked: Checked,
    pub expansion: Expansion,
    pub notes: Vec<Note>,
}

/// Why there is none.
#[derive(Debug)]
pub struct Refused {
    /// One line each.
    pub problems: Vec<String>,
    pub notes: Vec<Note>,
}

/// Files that were read as far as they can be.
#[derive(Debug)]
pub struct ReadFiles {
    pub files: Files,
    /// What the schemas refuse, one line each.
    pub problems: Vec<String>,
    pub notes: Vec<Note>,
}

/// Reads the files; refused where one could not be read at all.
pub fn read(arguments: &FileArguments) -> Result<ReadFiles, Refused> {
    sort(Objects::of_files(&arguments.files))
}

fn sort(objects: Objects) -> Result<ReadFiles, Refused> {
    let Objects { documents, errors, untold } = objects;
    let (files, invalid, notes) = Files::of(documents);
    let files = files.beside_cluster(untold);
    let mut problems: Vec<String> = errors.iter().map(|error| Chain(error).to_string()).collect();
    let unreadable = !problems.is_empty() || files.incomplete;
    problems.extend(invalid.iter().map(line));
    // What is missing because it could not be read is no further problem of the others.
    if unreadable {
        Err(Refused { problems, notes })
    } else {
        Ok(ReadFiles { files, problems, notes })
    }
}

/// Reads and judges the objects.
pub fn plan(arguments: &PlanArguments, commands: Commands<'_>) -> Result<Planned, Error> {
    let objects = arguments.objects.load()?;
    judge(objects, arguments.buildrun.as_deref(), commands).map_err(Error::Refused)
}

/// Judges a run of the objects.
pub fn judge(
    objects: Objects,
    name: Option<&str>,
    commands: Commands<'_>,
) -> Result<Planned, Refused> {
    let ReadFiles { files, mut problems, mut notes } = sort(objects)?;
    let chosen = match local::choose(&files, name, Timestamp::now(), commands) {
        Ok(chosen) => chosen,
        Err(error) => {
            problems.push(error.to_string());
            return Err(Refused { problems, notes });
        }
    };
    match validate(&chosen.loaded, &Settings::default()) {
        Ok(checked) if problems.is_empty() => {
            notes.extend(chosen.assumptions);
            let expansion = expand(&checked);
            Ok(Planned { checked, expansion, notes })
        }
        outcome => {
            let refusals = outcome.err().unwrap_or_default();
            problems.extend(refusals.into_iter().map(|refusal| line(&files.locate(refusal))));
            Err(Refused { problems, notes })
        }
    }
}

impl Refused {
    /// Tells notes and problems on standard error.
    pub fn tell(&self) {
        tell(&self.notes);
        for problem in &self.problems {
            complain(&format!("error: {}", one_line(problem)));
        }
    }
}

/// Tells notes on standard error.
pub fn tell(notes: &[Note]) {
    for Note(note) in notes {
        complain(&format!("note: {}", one_line(note)));
    }
}

/// File, object, field, reason and message of a refusal, in one line.
pub fn line(located: &Located) -> String {
    let refusal = &located.refusal;
    let file = located.file.as_ref().map(|file| format!("{file}: ")).unwrap_or_default();
    let field =
        if refusal.field.is_empty() { String::new() } else { format!("{}: ", refusal.field) };
    format!("{file}{}: {field}{}: {}", refusal.at, refusal.reason, refusal.message)
}
