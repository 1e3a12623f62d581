//! `slipway-step hold`: stands for a pod where no kubelet does, and what it prints, line by line.

use std::fmt;
use std::str::FromStr;

use super::args::Args;

/// Print which ids this container may use, then wait for SIGTERM.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct HoldCommand {
    /// Tell when what lies in this directory takes more than so many bytes
    #[arg(long = "limit", value_name = "DIR=BYTES")]
    pub limits: Vec<SizeLimit>,
}

impl HoldCommand {
    /// The arguments behind the program's name.
    pub fn to_args(&self) -> Vec<String> {
        Args::new("hold").each("limit", self.limits.iter().map(ToString::to_string)).done()
    }
}

/// A directory and the bytes that it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizeLimit {
    /// The directory.
    pub directory: String,
    /// The bytes.
    pub bytes: u64,
}

impl fmt::Display for SizeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.directory, self.bytes)
    }
}

impl FromStr for SizeLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.rsplit_once('=').and_then(|(directory, bytes)| {
            Some(Self { directory: directory.to_owned(), bytes: bytes.parse().ok()? })
        });
        parsed.ok_or_else(|| format!("{text:?} is not DIR=BYTES"))
    }
}

/// The line about ids, from the kernel's `uid_map` and `gid_map`: the last user and group that can be used without a gap.
pub fn print_ids(uid_map: &str, gid_map: &str) -> String {
    format!("ids {} {}", last(uid_map), last(gid_map))
}

/// Last user and group of such a line.
pub fn parse_ids(line: &str) -> Option<(i64, i64)> {
    let mut ids = line.strip_prefix("ids ")?.split_whitespace().map(str::parse);
    Some((ids.next()?.ok()?, ids.next()?.ok()?))
}

/// The line about a directory that has grown beyond its limit.
pub fn print_over(directory: &str) -> String {
    format!("over {directory}")
}

/// The directory of such a line.
pub fn parse_over(line: &str) -> Option<&str> {
    line.strip_prefix("over ")
}

/// Each line of a map has the first id inside, the first id outside and their number.
fn last(map: &str) -> i64 {
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<i64>);
        Some((numbers.next()?.ok()?, numbers.nth(1)?.ok()?))
    };
    let mut ranges: Vec<_> = map.lines().filter_map(range).collect();
    ranges.sort_unstable();
    let extend = |next, (first, count)| if first == next { next + count } else { next };
    ranges.into_iter().fold(0, extend) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_id_is_the_end_of_the_first_stretch() {
        let rootless = "         0       1001          1\n         1     100000      65536\n";
        let line = print_ids(rootless, "0 0 4294967295\n");
        assert_eq!(line, "ids 65536 4294967294");
        assert_eq!(parse_ids(&line), Some((65536, 4_294_967_294)));
        assert_eq!(last("1 100000 65536\n0 1001 1\n70000 1 5"), 65536);
        assert_eq!(parse_ids("something else"), None);
    }

    #[test]
    fn a_directory_reads_back_whatever_its_name() {
        let limit = SizeLimit { directory: "/volumes/a=b".into(), bytes: 5 };
        assert_eq!(limit.to_string().parse(), Ok(limit));
        assert_eq!(
            "/volumes/a".parse::<SizeLimit>(),
            Err("\"/volumes/a\" is not DIR=BYTES".into())
        );
        assert_eq!(parse_over(&print_over("/volumes/a b")), Some("/volumes/a b"));
    }
}
