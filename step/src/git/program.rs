//! Runs git: a clean environment, everything logged without secrets, failures classified.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use super::classify;
use super::error::GitError;
use super::redact::Redactor;

/// git as it is run for one repository.
pub(super) struct Git {
    options: Vec<String>,
    redactor: Redactor,
}

impl Git {
    /// `options` come before the subcommand.
    pub(super) fn new(options: Vec<String>, redactor: Redactor) -> Self {
        Self { options, redactor }
    }

    /// What git printed on its standard output; its standard error goes to the log line by line.
    pub(super) fn run(&self, arguments: &[String]) -> Result<String, GitError> {
        let command = self.redactor.redact(&format!("git {}", arguments.join(" ")));
        eprintln!("{command}");
        let child = command_for("git")
            .args(&self.options)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(GitError::Run)?;
        let (status, stdout, stderr) = self.listen(child).map_err(GitError::Run)?;
        if status.success() {
            return Ok(stdout);
        }
        let exit_code = exit_code(status);
        let reason = classify::classify(&stderr);
        let message = match reason.message() {
            Some(sentence) => sentence.to_owned(),
            None => {
                classify::shorten(&self.redactor.redact(&classify::essence(&stderr, exit_code)))
            }
        };
        Err(GitError::Command { command, exit_code, reason, message })
    }

    fn listen(&self, mut child: Child) -> io::Result<(ExitStatus, String, String)> {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let outputs = thread::scope(|scope| -> io::Result<_> {
            let stdout = scope.spawn(|| read_all(stdout));
            let stderr = self.log_all(stderr);
            let stdout = stdout.join().unwrap_or_else(|_| Err(io::Error::other("reader broke")));
            Ok((stdout?, stderr?))
        });
        // Also after a failure: no child is left behind.
        let status = child.wait()?;
        let (stdout, stderr) = outputs?;
        Ok((status, stdout, stderr))
    }

    fn log_all(&self, stream: Option<impl Read>) -> io::Result<String> {
        let Some(stream) = stream else { return Ok(String::new()) };
        let mut reader = BufReader::new(stream);
        let mut all = String::new();
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            eprintln!("{}", self.redactor.redact(text.trim_end()));
            all.push_str(&text);
            line.clear();
        }
        Ok(all)
    }
}

fn read_all(stream: Option<impl Read>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The exit code, and 128 and the signal's number for who was killed, as in a shell.
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Nothing of the environment may lead git elsewhere or make it ask; messages come untranslated.
fn command_for(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if !is_kept(&name) {
            command.env_remove(name);
        }
    }
    command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Of git's variables only those by which an operator sets up transport, LFS, tracing and configuration.
fn is_kept(name: &OsString) -> bool {
    const KEPT: [&str; 7] = [
        "GIT_ALLOW_PROTOCOL",
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_SYSTEM",
        "GIT_CURL_VERBOSE",
        "GIT_SHOW_LISTING",
    ];
    const KEPT_PREFIXES: [&str; 7] = [
        "GIT_CONFIG_KEY_",
        "GIT_CONFIG_VALUE_",
        "GIT_HTTP_",
        "GIT_LFS_",
        "GIT_PROXY_SSL_",
        "GIT_SSL_",
        "GIT_TRACE",
    ];
    let Some(name) = name.to_str() else { return true };
    if name.starts_with("SSH_ASKPASS") || name == "GIT_TRACE_REDACT" {
        return false;
    }
    !name.starts_with("GIT_")
        || KEPT.contains(&name)
        || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Looks for ssh, git and git-lfs before anything else and logs their versions.
pub(super) fn validate_tools() -> Result<(), GitError> {
    for (tool, argument) in [("ssh", "-V"), ("git", "version"), ("git-lfs", "version")] {
        let broken = |detail: String| GitError::ToolBroken { tool, detail };
        let output =
            command_for(tool).arg(argument).output().map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => GitError::ToolMissing { tool },
                _ => broken(error.to_string()),
            })?;
        // ssh has its version on standard error.
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        if !output.status.success() {
            return Err(broken(format!("{} ({})", text.trim(), output.status)));
        }
        eprintln!("{}", text.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("PATH", true)]
    #[case("HOME", true)]
    #[case("HTTPS_PROXY", true)]
    #[case("GIT_SSL_CAINFO", true)]
    #[case("GIT_SHOW_LISTING", true)]
    #[case("GIT_CONFIG_COUNT", true)]
    #[case("GIT_CONFIG_KEY_0", true)]
    #[case("GIT_CONFIG_PARAMETERS", false)]
    #[case("GIT_LFS_SKIP_SMUDGE", true)]
    #[case("GIT_TRACE_CURL", true)]
    #[case("GIT_TRACE_REDACT", false)]
    #[case("GIT_DIR", false)]
    #[case("GIT_WORK_TREE", false)]
    #[case("GIT_INDEX_FILE", false)]
    #[case("GIT_ASKPASS", false)]
    #[case("GIT_SSH_COMMAND", false)]
    #[case("GIT_TERMINAL_PROMPT", false)]
    #[case("SSH_ASKPASS", false)]
    fn variables(#[case] name: &str, #[case] expected: bool) {
        assert_eq!(is_kept(&name.into()), expected);
    }

    #[rstest]
    #[case(0x0100, 1)]
    #[case(0x8000, 128)]
    #[case(0x0009, 137)]
    fn exit_codes(#[case] raw: i32, #[case] expected: u8) {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(exit_code(ExitStatus::from_raw(raw)), expected);
    }
}
