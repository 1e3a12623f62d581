//! A Secret out of a directory, as `kubectl create secret generic --from-file=DIR` makes it: a key for each file.
//!
//! Invariant: no error shows what a file holds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::contents::{MOST_BYTES, SecretContent, key_faults};
use super::files::{Files, Note};
use crate::plan::{SecretFacts, dns_subdomain};

/// Why a directory makes no Secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Not `NAME=DIR`.
    #[error("--secret {argument}: write NAME=DIRECTORY")]
    Argument {
        /// What was given.
        argument: String,
    },
    /// No Secret can have the name.
    #[error("--secret {name}: {}", rules.join("; "))]
    Name {
        /// The name.
        name: String,
        /// The rules that it breaks.
        rules: Vec<String>,
    },
    /// A directory or file cannot be read.
    #[error("--secret {name}: cannot read {path}")]
    Read {
        /// The Secret.
        name: String,
        /// What cannot be read.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No key can have the name of a file.
    #[error("--secret {name}: {path} cannot be a key: {}; rename or move the file", rules.join("; "))]
    Key {
        /// The Secret.
        name: String,
        /// The file.
        path: PathBuf,
        /// The rules that its name breaks.
        rules: Vec<String>,
    },
    /// No Secret can be as large.
    #[error(
        "--secret {name}: the files in {directory} hold more than {MOST_BYTES} bytes, the most that a Secret holds"
    )]
    Large {
        /// The Secret.
        name: String,
        /// Its directory.
        directory: PathBuf,
    },
    /// There is no file.
    #[error("--secret {name}: {directory} holds no file; each file becomes a key")]
    Empty {
        /// The Secret.
        name: String,
        /// Its directory.
        directory: PathBuf,
    },
}

/// The type that goes with a key.
const TYPES: [(&str, &str); 3] = [
    (".dockerconfigjson", "kubernetes.io/dockerconfigjson"),
    (".dockercfg", "kubernetes.io/dockercfg"),
    ("ssh-privatekey", "kubernetes.io/ssh-auth"),
];

/// Name and directory of a `NAME=DIRECTORY`.
pub fn secret_argument(argument: &str) -> Result<(String, PathBuf), SecretError> {
    match argument.split_once('=') {
        Some((name, directory)) if !name.is_empty() && !directory.is_empty() => {
            Ok((name.to_owned(), directory.into()))
        }
        _ => Err(SecretError::Argument { argument: argument.to_owned() }),
    }
}

/// Reads each file of a directory, also of one that is itself a mounted Secret; not of its subdirectories.
pub fn secret_from_directory(
    name: &str,
    directory: &Path,
) -> Result<(SecretFacts, SecretContent), SecretError> {
    let rules = dns_subdomain(name);
    if !rules.is_empty() {
        return Err(SecretError::Name { name: name.to_owned(), rules });
    }
    let unreadable = |path: &Path, source| SecretError::Read {
        name: name.to_owned(),
        path: path.to_owned(),
        source,
    };
    let mut content = BTreeMap::new();
    let mut left = MOST_BYTES;
    for entry in fs::read_dir(directory).map_err(|source| unreadable(directory, source))? {
        let entry = entry.map_err(|source| unreadable(directory, source))?;
        let path = entry.path();
        // What a mounted Secret is made of, such as `..data`, is behind the links that bear the keys.
        if entry.file_name().as_encoded_bytes().starts_with(b"..") {
            continue;
        }
        let metadata = fs::metadata(&path).map_err(|source| unreadable(&path, source))?;
        if !metadata.is_file() {
            continue;
        }
        let key = entry.file_name().to_string_lossy().into_owned();
        let rules = key_faults(&key);
        if !rules.is_empty() {
            return Err(SecretError::Key { name: name.to_owned(), path, rules });
        }
        let bytes = read_at_most(&path, left).map_err(|source| unreadable(&path, source))?;
        left = left.checked_sub(bytes.len()).ok_or_else(|| SecretError::Large {
            name: name.to_owned(),
            directory: directory.to_owned(),
        })?;
        content.insert(key, bytes);
    }
    if content.is_empty() {
        return Err(SecretError::Empty { name: name.to_owned(), directory: directory.to_owned() });
    }
    let facts = SecretFacts { type_: Some(inferred(&content).into()), ..SecretFacts::default() };
    Ok((facts, SecretContent(content)))
}

/// The file, and at most one byte more than it may have.
fn read_at_most(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn inferred(content: &BTreeMap<String, Vec<u8>>) -> &'static str {
    let known = TYPES.into_iter().find(|(key, _)| content.contains_key(*key));
    match known {
        Some((_, type_)) => type_,
        None if ["username", "password"].iter().all(|key| content.contains_key(*key)) => {
            "kubernetes.io/basic-auth"
        }
        None => "Opaque",
    }
}

impl Files {
    /// Adds a Secret that is in no file; one of the same name gives way, and the note says so.
    pub fn add_secret(
        &mut self,
        namespace: &str,
        name: &str,
        mut facts: SecretFacts,
        content: SecretContent,
    ) -> Option<Note> {
        let key = (namespace.to_owned(), name.to_owned());
        let replaced = self.secrets.remove(&key);
        let note = replaced.map(|replaced| {
            // They say what the credentials are for.
            facts.annotations = replaced.annotations;
            Note(format!("Secret {namespace}/{name} is taken from --secret, not from the files"))
        });
        self.forget_place("Secret", &key);
        self.secrets.insert(key.clone(), facts);
        self.contents.secrets.insert(key, content);
        note
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn directory(files: &[(&str, &str)]) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn each_file_is_a_key_and_tells_the_type() {
        for (files, expected) in [
            (&[("a", "1")][..], "Opaque"),
            (&[("username", "u")], "Opaque"),
            (&[("username", "u"), ("password", "p")], "kubernetes.io/basic-auth"),
            (&[("ssh-privatekey", "k"), ("known_hosts", "h")], "kubernetes.io/ssh-auth"),
            (&[(".dockercfg", "{}")], "kubernetes.io/dockercfg"),
            (&[(".dockerconfigjson", "{}"), ("username", "u")], "kubernetes.io/dockerconfigjson"),
        ] {
            let directory = directory(files);
            let (facts, content) = secret_from_directory("s", directory.path()).unwrap();
            assert_eq!(facts.type_.as_deref(), Some(expected));
            let expected =
                files.iter().map(|(key, text)| ((*key).to_owned(), text.as_bytes().to_vec()));
            assert_eq!(content.0, expected.collect());
        }
    }

    #[test]
    fn a_mounted_secret_reads_like_any_directory() {
        let directory = directory(&[]);
        let hidden = directory.path().join("..2026_01_02");
        fs::create_dir(&hidden).unwrap();
        fs::write(hidden.join("token"), "hunter2").unwrap();
        symlink("..2026_01_02", directory.path().join("..data")).unwrap();
        symlink("..data/token", directory.path().join("token")).unwrap();
        fs::create_dir(directory.path().join("more")).unwrap();
        let (_, content) = secret_from_directory("s", directory.path()).unwrap();
        assert_eq!(content.0, BTreeMap::from([("token".into(), b"hunter2".to_vec())]));
    }

    #[test]
    fn what_makes_no_secret_says_why_and_no_value() {
        let bad_key = directory(&[("a b", "hunter2")]);
        let large = directory(&[("a", "hunter2"), ("b", &"x".repeat(MOST_BYTES))]);
        let empty = directory(&[]);
        let dangling = directory(&[]);
        symlink("nowhere", dangling.path().join("key")).unwrap();
        for (name, path, expected) in [
            ("s", bad_key.path(), "a b cannot be a key: a valid config key"),
            ("s", large.path(), "hold more than 1048576 bytes"),
            ("s", empty.path(), "holds no file"),
            ("s", dangling.path(), "--secret s: cannot read"),
            ("s", Path::new("/nonexistent"), "--secret s: cannot read /nonexistent"),
            ("S", empty.path(), "--secret S: a lowercase RFC 1123 subdomain"),
        ] {
            let error = secret_from_directory(name, path).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_full_secret_fits() {
        let directory = directory(&[("a", &"x".repeat(MOST_BYTES - 1)), ("b", "x")]);
        assert!(secret_from_directory("s", directory.path()).is_ok());
    }

    #[test]
    fn arguments_are_a_name_and_a_directory() {
        assert_eq!(secret_argument("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        for wrong in ["a", "=b", "a=", ""] {
            let error = secret_argument(wrong).unwrap_err().to_string();
            assert_eq!(error, format!("--secret {wrong}: write NAME=DIRECTORY"));
        }
    }

    #[test]
    fn a_directory_wins_over_the_files_and_keeps_what_its_annotations_say() {
        let mut files = Files::default();
        let key = ("ci".to_owned(), "login".to_owned());
        let annotations = BTreeMap::from([("build.shipwright.io/x".to_owned(), "y".to_owned())]);
        let old = SecretFacts { type_: None, annotations: annotations.clone() };
        files.secrets.insert(key.clone(), old);
        let directory = directory(&[("username", "u"), ("password", "p")]);
        let (facts, content) = secret_from_directory("login", directory.path()).unwrap();
        let note = files.add_secret("ci", "login", facts.clone(), content.clone()).unwrap();
        assert_eq!(note.0, "Secret ci/login is taken from --secret, not from the files");
        assert_eq!(files.secrets[&key].type_.as_deref(), Some("kubernetes.io/basic-auth"));
        assert_eq!(files.secrets[&key].annotations, annotations);
        assert_eq!(files.contents.secret("ci", "login"), Ok(&content));
        assert_eq!(files.add_secret("ci", "other", facts, content), None);
    }
}
