//! Reads the documents that `-f` names.
//!
//! Invariant: one unreadable file or document does not hide what is wrong with the others.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_saphyr::UserMessageFormatter;

/// One YAML or JSON document.
#[derive(Debug, Clone)]
pub struct Document {
    /// As the user named it; `-` is standard input.
    pub file: String,
    /// What stands in it.
    pub value: Value,
}

/// Why a file says nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("{file}: cannot be read")]
    Read {
        /// The file or directory.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is no YAML, or YAML that grows beyond measure.
    #[error("{file}: is not valid YAML: {why}")]
    Yaml {
        /// The file.
        file: String,
        /// What the parser said to users, with the place.
        why: String,
    },
    /// It is larger than any object that a cluster would store, and than many of them.
    #[error("{file}: is larger than {} MiB", MAX_FILE >> 20)]
    Large {
        /// The file.
        file: String,
    },
    /// A directory without any document.
    #[error("{file}: holds no .yaml, .yml or .json file")]
    Empty {
        /// The directory.
        file: String,
    },
}

impl ReadError {
    /// The file or directory, as the user named it.
    pub fn file(&self) -> &str {
        match self {
            Self::Read { file, .. }
            | Self::Yaml { file, .. }
            | Self::Large { file }
            | Self::Empty { file } => file,
        }
    }

    /// What is wrong with it, with what the system said and without the name.
    pub fn why(&self) -> String {
        let text = match self {
            Self::Read { source, .. } => format!("{self}: {source}"),
            Self::Yaml { .. } | Self::Large { .. } | Self::Empty { .. } => self.to_string(),
        };
        let start = format!("{}: ", self.file());
        text.strip_prefix(&start).unwrap_or(&text).to_owned()
    }
}

/// Endings of the files that a directory stands for.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Most bytes of one file.
const MAX_FILE: usize = 16 << 20;

/// All documents of all paths, in the order in which they were named; files of a directory by name. A file that is named twice is
/// read once.
pub fn read(paths: &[PathBuf]) -> (Vec<Document>, Vec<ReadError>) {
    let mut documents = Vec::new();
    let mut errors = Vec::new();
    let mut known = BTreeSet::new();
    for path in paths {
        match expand(path) {
            Ok(files) => {
                for file in files {
                    // What has no path of its own, such as standard input, goes by its name.
                    let own = fs::canonicalize(&file).unwrap_or_else(|_| file.clone());
                    if !known.insert(own) {
                        continue;
                    }
                    match read_file(&file) {
                        Ok(found) => documents.extend(found),
                        Err(error) => errors.push(error),
                    }
                }
            }
            Err(error) => errors.push(error),
        }
    }
    (documents, errors)
}

/// The file itself, or those of a directory; not of its subdirectories.
fn expand(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    if path == Path::new("-") || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| ReadError::Read { file: path.display().to_string(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let ending = file.extension().and_then(|ending| ending.to_str());
        // A link that leads nowhere is told of when it is read.
        if !file.is_dir() && ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(ReadError::Empty { file: path.display().to_string() });
    }
    Ok(files)
}

fn read_file(path: &Path) -> Result<Vec<Document>, ReadError> {
    let file = path.display().to_string();
    let text = read_text(path).map_err(|source| ReadError::Read { file: file.clone(), source })?;
    if text.len() > MAX_FILE {
        return Err(ReadError::Large { file });
    }
    let values = parse(&text).map_err(|error| ReadError::Yaml {
        file: file.clone(),
        why: error.render_with_formatter(&UserMessageFormatter),
    })?;
    let document = |value| Document { file: file.clone(), value };
    Ok(values.into_iter().filter(|value| !value.is_null()).map(document).collect())
}

/// The text, as far as it is not too large.
fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let most = MAX_FILE as u64 + 1;
    if path == Path::new("-") {
        io::stdin().take(most).read_to_string(&mut text)?;
    } else {
        fs::File::open(path)?.take(most).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// JSON documents where the text begins like one, as kubectl has it; else YAML, which says best what is wrong with either.
fn parse(text: &str) -> Result<Vec<Value>, serde_saphyr::Error> {
    if text.trim_start().starts_with('{')
        && let Ok(values) = serde_json::Deserializer::from_str(text).into_iter().collect()
    {
        return Ok(values);
    }
    serde_saphyr::from_multiple_with_options(text, options())
}

/// As kubectl reads: `0444` is octal. Errors show no lines of the file, which may be those of a Secret.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false }
}
