//! Whether a Git repository answers, as a Build may ask by its annotation.
//!
//! Invariant: nothing of the URL is in what is told, because it may hold a password.
//!
//! The list of branches and tags is the first thing that Git itself asks for, and needs no program.

use std::time::Duration;

use slipway_step::oci::web_client;

use crate::Chain;

/// How long the repository may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Some hosts answer only those who seem to be Git.
const USER_AGENT: &str = concat!("git/2 (slipway/", env!("CARGO_PKG_VERSION"), ")");
/// Bytes that show what a list begins with.
const BEGINNING: usize = 256;
const SMART: &[u8] = b"001e# service=git-upload-pack\n";

/// Asks an http or https repository for its branches and tags; why that leads to nothing.
pub async fn ask(url: &str) -> Result<(), String> {
    let separator = if url.contains('?') { '&' } else { '?' };
    let list = format!("{}/info/refs{separator}service=git-upload-pack", url.trim_end_matches('/'));
    let client = web_client(PATIENCE).map_err(|error| Chain(&error).to_string())?;
    let request = client.get(list).header("user-agent", USER_AGENT);
    let mut answer = request.send().await.map_err(|error| {
        if error.is_timeout() {
            return format!("no answer in {} s", PATIENCE.as_secs());
        }
        Chain(&error.without_url()).to_string()
    })?;
    match answer.status().as_u16() {
        200 => {}
        401 => return Err("remote repository unreachable".into()),
        403 => return Err("authorization failed".into()),
        404 | 410 => return Err("repository not found".into()),
        _ => return Err(format!("the server answers {}", answer.status())),
    }
    let mut beginning = Vec::new();
    while beginning.len() < BEGINNING
        && let Some(chunk) =
            answer.chunk().await.map_err(|error| Chain(&error.without_url()).to_string())?
    {
        beginning.extend_from_slice(&chunk);
    }
    judge(&beginning)
}

fn judge(list: &[u8]) -> Result<(), String> {
    let first = match list.strip_prefix(SMART) {
        // After the flush the length of the first line, and then an id.
        Some(lines) => lines.strip_prefix(b"0000").unwrap_or(lines).get(4..).unwrap_or_default(),
        // A server without a program lists lines alone.
        None => list,
    };
    let digits = first.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let is_list =
        [40, 64].contains(&digits) && [Some(&b' '), Some(&b'\t')].contains(&first.get(digits));
    let has_some = first[..digits].iter().any(|digit| *digit != b'0');
    match (list.starts_with(SMART) || list.is_empty(), is_list) {
        (_, true) if has_some => Ok(()),
        (true, _) => Err("remote repository is empty".into()),
        _ => Err(
            "the server does not list branches and tags; the URL must be that of a Git repository"
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn a_list_names_something() {
        let id = "1234567890".repeat(4);
        let none = "0".repeat(40);
        let smart = |first: &str| format!("001e# service=git-upload-pack\n0000{first}");
        let told = |list: &str| judge(list.as_bytes());
        assert_eq!(told(&smart(&format!("0155{id} HEAD\0multi_ack"))), Ok(()));
        assert_eq!(told(&format!("{id}\trefs/heads/main\n")), Ok(()));
        let empty = Err("remote repository is empty".to_owned());
        assert_eq!(told(&smart(&format!("00ab{none} capabilities^{{}}\0agent"))), empty);
        assert_eq!(told(&smart("0000")), empty);
        assert_eq!(told(""), empty);
        for page in ["<html>", "1234567890", &format!("{id}</p>")] {
            assert!(told(page).is_err_and(|why| why.contains("must be that of a Git repository")));
        }
    }
}
