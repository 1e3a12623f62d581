//! What a repository's URL says about how it is reached.
//!
//! Invariant: pure; git itself has the last word on the URL.

/// Whether git reaches the URL through ssh: `ssh://host/path`, or `user@host:path`.
pub(super) fn is_ssh(url: &str) -> bool {
    match url.split_once("://") {
        Some((scheme, _)) => matches!(scheme, "ssh" | "git+ssh" | "ssh+git"),
        None => url.starts_with("git@") || scp_like_login(url).is_some(),
    }
}

/// `user@host` of `user@host:path`; a slash before the colon makes it a local path, a second colon a remote helper.
fn scp_like_login(url: &str) -> Option<&str> {
    let (login, path) = url.split_once(':')?;
    let is_other = login.is_empty() || login.contains('/') || path.starts_with(':');
    (!is_other && !path.starts_with("//")).then_some(login)
}

/// `host[:port]` of `scheme://[user[:password]@]host[:port]/path`.
pub(super) fn host_and_port(url: &str) -> Option<&str> {
    let authority = authority(url)?;
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#']).next().filter(|authority| !authority.is_empty())
}

/// The git setting by which https URLs on the repository's host go through ssh; `None` for a URL without a host.
pub(super) fn rewrite_to_ssh(url: &str) -> Option<String> {
    let (login, host) = if is_ssh(url) && url.contains("://") {
        let authority = authority(url)?;
        (authority.to_owned(), without_port(host_and_port(url)?))
    } else if url.starts_with("https://") || url.starts_with("http://") {
        let host = host_and_port(url)?;
        (format!("git@{host}"), host)
    } else {
        let login = scp_like_login(url)?;
        (login.to_owned(), login.rsplit_once('@').map_or(login, |(_, host)| host))
    };
    Some(format!("url.ssh://{login}/.insteadOf=https://{host}/"))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("git@github.com:a/b.git", true)]
    #[case("deploy@host:a", true)]
    #[case("host:a", true)]
    #[case("git@host:/srv/a", true)]
    #[case("git@github.com", true)]
    #[case("ssh://git@host:2222/a", true)]
    #[case("ssh://host/a", true)]
    #[case("https://git@host/a", false)]
    #[case("http://host/a", false)]
    #[case("file:///a", false)]
    #[case("/a/b:c", false)]
    #[case("./a:b", false)]
    #[case("ext::sh", false)]
    #[case("", false)]
    fn ssh_urls(#[case] url: &str, #[case] expected: bool) {
        assert_eq!(is_ssh(url), expected);
    }

    #[rstest]
    #[case("https://user:pw@host:8443/a", Some("host:8443"))]
    #[case("https://host", Some("host"))]
    #[case("https://[::1]:443/a", Some("[::1]:443"))]
    #[case("file:///a", None)]
    #[case("git@host:a", None)]
    fn hosts(#[case] url: &str, #[case] expected: Option<&str>) {
        assert_eq!(host_and_port(url), expected);
    }

    #[rstest]
    #[case("git@h:a/b", Some("url.ssh://git@h/.insteadOf=https://h/"))]
    #[case("https://h/a", Some("url.ssh://git@h/.insteadOf=https://h/"))]
    #[case("https://u:p@h:8443/a", Some("url.ssh://git@h:8443/.insteadOf=https://h:8443/"))]
    #[case("http://h/a", Some("url.ssh://git@h/.insteadOf=https://h/"))]
    #[case("ssh://me@h:2222/a", Some("url.ssh://me@h:2222/.insteadOf=https://h/"))]
    #[case("ssh://[::1]/a", Some("url.ssh://[::1]/.insteadOf=https://[::1]/"))]
    #[case("file:///a", None)]
    #[case("/a", None)]
    fn rewrites(#[case] url: &str, #[case] expected: Option<&str>) {
        assert_eq!(rewrite_to_ssh(url).as_deref(), expected);
    }
}
