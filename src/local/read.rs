//! Reads the documents that `-f` names.
//!
//! Invariant: one unreadable file or document does not hide what is wrong with the others.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

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
    #[error("{file}: is not valid YAML")]
    Yaml {
        /// The file.
        file: String,
        /// What the parser said, with the place.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// A directory without any document.
    #[error("{file}: holds no .yaml, .yml or .json file")]
    Empty {
        /// The directory.
        file: String,
    },
}

/// Endings of the files that a directory stands for.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// All documents of all paths, in the order in which they were named; files of a directory by name.
pub fn read(paths: &[PathBuf]) -> (Vec<Document>, Vec<ReadError>) {
    let mut documents = Vec::new();
    let mut errors = Vec::new();
    for path in paths {
        match expand(path) {
            Ok(files) => {
                for file in files {
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
        if file.is_file() && ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
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
    let text = if file == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    let text = text.map_err(|source| ReadError::Read { file: file.clone(), source })?;
    let values: Vec<Value> = serde_saphyr::from_multiple(&text)
        .map_err(|source| ReadError::Yaml { file: file.clone(), source: Box::new(source) })?;
    Ok(values
        .into_iter()
        .filter(|value| !value.is_null())
        .map(|value| Document { file: file.clone(), value })
        .collect())
}
