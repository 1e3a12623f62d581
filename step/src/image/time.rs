//! The time that an image and everything in it shall have.
//!
//! Invariant: it is known before anything is fetched, changed or pushed.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::ImageError;
use crate::given;
use crate::protocol::ImageCommand;

/// More than any number of seconds has, so that a wrong file is not read whole.
const LONGEST: u64 = 64;
/// RFC 3339 knows no years before 0; after 9999 there are no timestamps at all.
const FIRST: i64 = -62_167_219_200;

/// A second, as archives and as configs write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Time {
    /// Since 1970.
    pub(super) seconds: i64,
    /// By RFC 3339.
    pub(super) written: String,
}

/// What the flags ask for; a file may end with a line break.
pub(super) fn find(command: &ImageCommand) -> Result<Option<Time>, ImageError> {
    match (
        given(command.image_timestamp.as_deref()),
        given(command.image_timestamp_file.as_deref()),
    ) {
        (Some(_), Some(_)) => Err(ImageError::TwoTimestamps),
        (Some(text), None) => parse(text, "--image-timestamp").map(Some),
        (None, Some(path)) => {
            let text = read(Path::new(path)).map_err(|source| ImageError::TimestampFile {
                path: PathBuf::from(path),
                source,
            })?;
            parse(&text, &format!("--image-timestamp-file {path:?}")).map(Some)
        }
        (None, None) => Ok(None),
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse(text: &str, from: &str) -> Result<Time, ImageError> {
    let text = text.trim();
    let refuse = || ImageError::Timestamp { from: from.to_owned(), text: text.to_owned() };
    let seconds: i64 = text.parse().map_err(|_| refuse())?;
    let time = jiff::Timestamp::from_second(seconds).ok().filter(|_| seconds >= FIRST);
    Ok(Time { seconds, written: time.ok_or_else(refuse)?.to_string() })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0", "1970-01-01T00:00:00Z")]
    #[case(" 1700000000\n", "2023-11-14T22:13:20Z")]
    #[case("4102444800", "2100-01-01T00:00:00Z")]
    #[case("-1", "1969-12-31T23:59:59Z")]
    #[case("-62167219200", "0000-01-01T00:00:00Z")]
    #[case("253402207200", "9999-12-30T22:00:00Z")]
    fn seconds_are_written_by_rfc_3339(#[case] text: &str, #[case] written: &str) {
        assert_eq!(parse(text, "f").unwrap().written, written);
    }

    #[rstest]
    #[case("")]
    #[case("now")]
    #[case("1.5")]
    #[case("253402300800")]
    #[case("-62167219201")]
    #[case("9223372036854775808")]
    fn anything_else_is_refused(#[case] text: &str) {
        let error = parse(text, "--image-timestamp").unwrap_err().to_string();
        assert!(error.starts_with(&format!("--image-timestamp is {text:?}")), "{error}");
    }
}
