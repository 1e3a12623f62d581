//! Names in an archive, and whether they stay where they belong.
//!
//! Invariant: what comes out of here leads down from the folder, one existing or new name after another, never up.

use super::UnpackError;

/// What the kernel takes, the end mark included.
const LONGEST_PATH: usize = 4096;
const LONGEST_NAME: usize = 255;
const SHOWN: usize = 100;

/// The names from the folder down to an entry; none for the folder itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) names: Vec<Vec<u8>>,
    pub(super) was_absolute: bool,
}

impl Place {
    /// Where an entry, or what it links to by its name in the archive, belongs. The beginning `/` of an absolute name is left out.
    pub(super) fn of(name: &[u8]) -> Result<Self, String> {
        if name.contains(&0) {
            return Err("there is a zero byte in its name".to_owned());
        }
        if name.len() >= LONGEST_PATH {
            let most = LONGEST_PATH - 1;
            return Err(format!("its name has {} bytes; at most {most} are possible", name.len()));
        }
        let mut names = Vec::new();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    return Err(
                        "\"..\" in its name; an entry may not leave the folder of the source"
                            .to_owned(),
                    );
                }
                part if part.len() > LONGEST_NAME => {
                    let length = part.len();
                    return Err(format!(
                        "a part of its name has {length} bytes; at most {LONGEST_NAME} are possible"
                    ));
                }
                part => names.push(part.to_vec()),
            }
        }
        Ok(Self { names, was_absolute: name.first() == Some(&b'/') })
    }

    /// The folder that holds the entry, and its name there; nothing for the root.
    pub(super) fn split(&self) -> Option<(&[Vec<u8>], &[u8])> {
        self.names.split_last().map(|(name, parent)| (parent, name.as_slice()))
    }
}

/// Whether a symbolic link that lies so many folders deep stays inside. A `..` is only known to lead up where nothing but the like stands
/// before it: a name may be another link.
///
/// # Errors
/// What is wrong with it, as the end of a sentence about the link.
pub fn check_target(target: &[u8], depth: usize) -> Result<(), String> {
    let shown = shown(target);
    if target.is_empty() {
        return Err("it is a symbolic link to nothing".to_owned());
    }
    if target.contains(&0) || target.len() >= LONGEST_PATH {
        return Err("it is a symbolic link to no possible name".to_owned());
    }
    if target.starts_with(b"/") {
        return Err(format!(
            "it is a symbolic link to the absolute {shown:?}; make it a relative one within the source"
        ));
    }
    let (mut up, mut has_gone_down) = (0, false);
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if has_gone_down => {
                return Err(format!(
                    "it is a symbolic link to {shown:?}; \"..\" may only stand at the beginning"
                ));
            }
            b".." => up += 1,
            _ => has_gone_down = true,
        }
    }
    if up > depth {
        return Err(format!(
            "it is a symbolic link to {shown:?}, which is outside of the folder of the source"
        ));
    }
    Ok(())
}

/// A name as people get to see it.
pub(super) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    if text.chars().count() <= SHOWN {
        return text.into_owned();
    }
    text.chars().take(SHOWN).chain("…".chars()).collect()
}

pub(super) fn refused(name: &[u8], problem: impl Into<String>) -> UnpackError {
    UnpackError::Refused { name: shown(name), problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a/b", &["a", "b"])]
    #[case("./a//b/./", &["a", "b"])]
    #[case("/a", &["a"])]
    #[case("./", &[])]
    #[case("", &[])]
    #[case("a..b/...", &["a..b", "..."])]
    fn a_name_leads_down(#[case] name: &str, #[case] names: &[&str]) {
        let place = Place::of(name.as_bytes()).unwrap();
        assert_eq!(place.names, names.iter().map(|name| name.as_bytes()).collect::<Vec<_>>());
        assert_eq!(place.was_absolute, name.starts_with('/'));
    }

    #[rstest]
    #[case("..", "\"..\"")]
    #[case("a/../b", "\"..\"")]
    #[case("/../etc", "\"..\"")]
    #[case("a\0b", "zero byte")]
    #[case(&"x".repeat(256), "256 bytes; at most 255")]
    #[case(&"x/".repeat(2048), "4096 bytes; at most 4095")]
    fn a_name_that_leads_elsewhere_is_refused(#[case] name: &str, #[case] problem: &str) {
        let refused = Place::of(name.as_bytes()).unwrap_err();
        assert!(refused.contains(problem), "{refused}");
    }

    #[rstest]
    #[case("a", 0, true)]
    #[case("./a/b", 0, true)]
    #[case("../a", 1, true)]
    #[case("../../a", 2, true)]
    #[case("..", 1, true)]
    #[case("..", 0, false)]
    #[case("../../a", 1, false)]
    #[case("a/..", 5, false)]
    #[case("../a/../../..", 1, false)]
    #[case("/etc", 5, false)]
    #[case("", 5, false)]
    fn a_link_stays_inside(#[case] target: &str, #[case] depth: usize, #[case] is_inside: bool) {
        assert_eq!(check_target(target.as_bytes(), depth).is_ok(), is_inside);
    }
}
