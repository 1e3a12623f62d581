//! Symbolic links of a working copy that would lead elsewhere once they are unpacked.
//!
//! Invariant: what is refused here is what the source step of a cluster refuses (`slipway_step::unpack`), before anything was made there.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Why a link that stands so many folders deep does not stay inside.
pub fn fault(target: &Path, depth: usize) -> Option<&'static str> {
    let target = target.as_os_str().as_bytes();
    if target.starts_with(b"/") {
        return Some("which is absolute");
    }
    let (mut up, mut has_gone_down) = (0, false);
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            // The name before it may be another link, which leads anywhere.
            b".." if has_gone_down => return Some("in which .. does not stand at the beginning"),
            b".." => up += 1,
            _ => has_gone_down = true,
        }
    }
    (up > depth).then_some("which is outside of the directory")
}
