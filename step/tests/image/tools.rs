//! Running the program and the tools that it is compared with.

use std::path::Path;
use std::process::{Command, Output};

/// What a run of `slipway-step` left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

impl Ran {
    /// The run, if it ended as a success does.
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.log);
        self
    }

    /// The log of a run that ended with this code.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.log);
        self.log
    }
}

/// The program without anything from this process's environment that steers registries.
pub(crate) fn step() -> Command {
    role("image-processing")
}

/// The same in another role.
pub(crate) fn role(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway-step"));
    command.arg(name);
    for name in
        ["SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"]
    {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command
}

pub(crate) fn process(arguments: &[&str]) -> Ran {
    finish(step().args(arguments))
}

pub(crate) fn finish(command: &mut Command) -> Ran {
    let Output { status, stderr, .. } = command.output().unwrap();
    Ran { code: status.code(), log: String::from_utf8(stderr).unwrap() }
}

/// The digest that a successful run leaves as its result.
pub(crate) fn digest_after(arguments: &[&str]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    let result = ["--result-file-image-digest", file.path().to_str().unwrap()];
    process(&[arguments, &result].concat()).succeeded();
    std::fs::read_to_string(file.path()).unwrap()
}

/// Standard output of a tool that must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("{program} does not start ({error}); install it: apt-get install coreutils docker-registry gzip openssl perl podman runc skopeo zstd")
    });
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Not computed here, because that takes a while without optimization.
pub(crate) fn sha256(file: &Path) -> String {
    let output = run("sha256sum", &["--binary", file.to_str().unwrap()]);
    String::from_utf8(output).unwrap().split_whitespace().next().unwrap().to_owned()
}

/// The raw manifest that skopeo gets.
pub(crate) fn skopeo_raw(image: &str) -> Vec<u8> {
    run("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{image}")])
}

/// The config that skopeo gets.
pub(crate) fn skopeo_config(image: &str) -> serde_json::Value {
    let arguments =
        ["inspect", "--config", "--raw", "--tls-verify=false", &format!("docker://{image}")];
    serde_json::from_slice(&run("skopeo", &arguments)).unwrap()
}
