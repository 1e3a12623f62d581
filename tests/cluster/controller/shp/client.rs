//! The program that plays the stock client.
//!
//! Invariant: it hangs where the stock client would; a test that meets that ends it and fails.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::super::super::harness::{PATIENCE, run};
use super::super::person::Person;

/// Built where it is not in the cache.
pub static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    let hack = concat!(env!("CARGO_MANIFEST_DIR"), "/hack/shp");
    run(Command::new(hack), "").trim_end().to_owned()
});

/// What a command came to.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A command that runs, and ends with this.
pub struct Started {
    child: Child,
    lines: Receiver<String>,
    stdout: String,
    stderr: Option<JoinHandle<String>>,
    what: String,
}

/// Standard output of the command; the test fails where the command does.
pub fn shp(person: &Person, arguments: &[&str]) -> String {
    let said = try_shp(person, arguments);
    assert_eq!(said.code, Some(0), "shp {arguments:?}: {said:#?}");
    said.stdout
}

/// Whatever the command comes to.
pub fn try_shp(person: &Person, arguments: &[&str]) -> Said {
    start_shp(person, arguments).end()
}

pub fn start_shp(person: &Person, arguments: &[&str]) -> Started {
    start(command(person, arguments))
}

/// The command as this person gives it.
pub fn command(person: &Person, arguments: &[&str]) -> Command {
    let mut command = Command::new(&*PROGRAM);
    command.args(arguments).args(["--namespace", person.namespace.name()]);
    command.env("KUBECONFIG", person.kubeconfig());
    command
}

pub fn start(mut command: Command) -> Started {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let lines_of_child = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines_of_child.map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut errors = child.stderr.take().unwrap();
    let stderr = std::thread::spawn(move || {
        let mut text = Vec::new();
        errors.read_to_end(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    });
    Started {
        child,
        lines,
        stdout: String::new(),
        stderr: Some(stderr),
        what: format!("{command:?}"),
    }
}

impl Started {
    /// Comes back once a line holds the text, or has held it.
    pub fn wait_for(&mut self, text: &str) {
        assert!(
            self.stdout.contains(text) || self.read(|line| line.contains(text)),
            "{} ended without {text:?}: {}",
            self.what,
            self.stdout
        );
    }

    pub fn end(mut self) -> Said {
        self.read(|_| false);
        let code = self.child.wait().unwrap().code();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Said { code, stdout: std::mem::take(&mut self.stdout), stderr }
    }

    /// Takes what it prints until such a line; whether there was one before it ended.
    fn read(&mut self, is_last: impl Fn(&str) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.stdout.push_str(&line);
                    self.stdout.push('\n');
                    if is_last(&line) {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} hangs: after {PATIENCE:?} it has said {}", self.what, self.stdout)
                }
            }
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
