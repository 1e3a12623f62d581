//! Names of images, as registries and container runtimes read them.

/// Longest path of a repository, in bytes.
const MAX_PATH: usize = 255;
/// Longest tag, in bytes.
const MAX_TAG: usize = 128;

/// Whether a text names an image: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
pub fn is_image_reference(text: &str) -> bool {
    let (name, digest) = cut(text, text.find('@'));
    // A colon before the last slash belongs to a port.
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = cut(name, name[last..].find(':').map(|colon| last + colon));
    let path = match name.split_once('/') {
        Some((host, path)) if is_host(host) => path,
        _ => name,
    };
    path.len() <= MAX_PATH
        && path.split('/').all(is_path_part)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
}

/// What stands before a separator, and what behind it.
fn cut(text: &str, at: Option<usize>) -> (&str, Option<&str>) {
    at.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])))
}

fn is_host(text: &str) -> bool {
    // An IPv6 address has colons of its own.
    if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_address = address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        return !address.is_empty()
            && is_address
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = cut(text, text.find(':'));
    let is_label = |label: &str| {
        let is_known = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_known && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Small letters and digits, with a dot, one or two underscores, or hyphens between them.
fn is_path_part(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let between = text.split(is_word).filter(|separator| !separator.is_empty());
    text.starts_with(is_word)
        && text.ends_with(is_word)
        && between.into_iter().all(|separator| {
            [".", "_", "__"].contains(&separator) || separator.bytes().all(|byte| byte == b'-')
        })
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let is_long_enough = match algorithm {
        "sha256" => hex.len() == 64,
        "sha512" => hex.len() == 128,
        _ => hex.len() >= 32,
    };
    is_long_enough
        && algorithm.split(['-', '_', '+', '.']).all(is_part)
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for valid in [
            "i",
            "library/busybox",
            "a__b/c-----d",
            "Host/a",
            "Registry.example.com:5000/a/b_c/d.e--f:V1_2",
            "localhost:5000/a@sha256:0123456789012345678901234567890123456789012345678901234567890123",
            "[::1]:5000/a:b",
            &format!("example.com/a:b@{digest}"),
        ] {
            assert!(is_image_reference(valid), "{valid}");
        }
        let long = format!("example.com/{}", "a".repeat(256));
        for invalid in [
            "",
            " i",
            "a b",
            "example.com/App",
            "https://example.com/a",
            "example.com/",
            "example.com/a:",
            "example.com/a:-b",
            "example.com/a@sha256:0",
            "a//b",
            "/a",
            "a_-b",
            "a..b",
            "a___b",
            "example.com:/a",
            "example.com/a@sha256",
            "é",
            "[::1]",
            "[x]/a",
            "$(params.x)",
            &long,
        ] {
            assert!(!is_image_reference(invalid), "{invalid}");
        }
    }
}
