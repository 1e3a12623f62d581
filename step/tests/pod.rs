//! A pod without a kubelet: one root folder, and containers that are processes with their own mounts and process ids.
//!
//! Needs root, `unshare`, `setpriv` and `chroot`; without them the tests fail and say so.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use slipway_step::protocol::GateCommand;
use slipway_step::protocol::results::{MAX_REPORT, Report, decode};
use tempfile::TempDir;

/// How long anything may take that a test awaits.
const PATIENCE: Duration = Duration::from_secs(30);
/// Mounts what a container has and becomes its first process.
const START: &str = r#"
root=$1; log=$2; uid=$3; gid=$4; first=$5; shift 5
mount --bind /usr "$root/usr"
mount --bind "$PROGRAM" "$root/shp/bin/slipway-step"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
touch "$root/dev/null" "$root/dev/termination-log"
mount --bind /dev/null "$root/dev/null"
mount --bind "$log" "$root/dev/termination-log"
mount -t tmpfs -o mode=777 tmpfs "$root/tekton/creds"
mount -t tmpfs -o mode=777 tmpfs "$root/tmp"
unset PROGRAM
if [ "$first" = true ]; then
    exec chroot "$root" setpriv --reuid "$uid" --regid "$gid" --clear-groups "$@"
fi
chroot "$root" setpriv --reuid "$uid" --regid "$gid" --clear-groups "$@"
"#;
/// Steps of a pod at most.
pub(crate) const RUN_DIRS: usize = 21;
const FOLDERS: [&str; 13] = [
    "usr",
    "proc",
    "dev",
    "tmp",
    "etc",
    "shp-tmp",
    "workspace",
    "workspace/source",
    "tekton",
    "tekton/results",
    "tekton/creds",
    "tekton/creds-secrets",
    "tekton/home",
];

/// Volumes that containers share, and the files that a kubelet would keep for each.
pub(crate) struct Pod {
    folder: TempDir,
    containers: AtomicUsize,
}

/// One container of a pod.
pub(crate) struct Container<'a> {
    pod: &'a Pod,
    index: usize,
    child: Child,
}

/// How a container is started.
pub(crate) struct Settings {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Whether the program is PID 1.
    pub(crate) first: bool,
    pub(crate) home: Option<&'static str>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { uid: 1010, gid: 1020, first: true, home: Some("/tekton/home") }
    }
}

/// A gate for the `index`th step that runs a shell script.
pub(crate) fn gate(index: usize, script: &str) -> GateCommand {
    let command = vec!["sh".into(), "-c".into(), script.into()];
    GateCommand {
        run_dir: slipway_step::protocol::run_dir(index),
        after: index.checked_sub(1).map(slipway_step::protocol::run_dir),
        await_started: Vec::new(),
        workdir: None,
        budget: MAX_REPORT,
        results: Vec::new(),
        credentials: Vec::new(),
        command,
    }
}

impl Pod {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pod = Self { folder, containers: AtomicUsize::new(0) };
        let root = pod.path("");
        fs::create_dir_all(root.join("shp/bin")).unwrap();
        File::create(root.join("shp/bin/slipway-step")).unwrap();
        for link in ["bin", "lib", "lib64"] {
            symlink(format!("usr/{link}"), root.join(link)).unwrap();
        }
        for name in FOLDERS {
            pod.make_folder(name);
        }
        for index in 0..RUN_DIRS {
            pod.make_folder(&format!("shp/run/{index}"));
        }
        fs::set_permissions(pod.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        pod
    }

    /// A folder that every user may write, as an emptyDir is.
    pub(crate) fn make_folder(&self, name: &str) {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }

    /// Where a file of the pod is on this machine.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("root").join(name.trim_start_matches('/'))
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub(crate) fn start(&self, gate: &GateCommand) -> Container<'_> {
        self.start_as(gate, &Settings::default())
    }

    pub(crate) fn start_as(&self, gate: &GateCommand, settings: &Settings) -> Container<'_> {
        let args = gate.to_args();
        let line = std::iter::once("/shp/bin/slipway-step").chain(args.iter().map(String::as_str));
        self.exec(&line.collect::<Vec<_>>(), settings)
    }

    /// Runs a gate to its end.
    pub(crate) fn run(&self, gate: &GateCommand) -> Ended {
        self.start(gate).end()
    }

    pub(crate) fn exec(&self, line: &[&str], settings: &Settings) -> Container<'_> {
        let index = self.containers.fetch_add(1, Ordering::SeqCst);
        File::create(self.log(index, "termination")).unwrap();
        let open = fs::Permissions::from_mode(0o666);
        fs::set_permissions(self.log(index, "termination"), open).unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"])
            .args(["sh", "-e", "-c", START, "sh"])
            .arg(self.path(""))
            .arg(self.log(index, "termination"))
            .args([settings.uid.to_string(), settings.gid.to_string(), settings.first.to_string()])
            .args(line)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("PROGRAM", env!("CARGO_BIN_EXE_slipway-step"))
            .stdin(Stdio::null())
            .stdout(File::create(self.log(index, "stdout")).unwrap())
            .stderr(File::create(self.log(index, "stderr")).unwrap());
        if let Some(home) = settings.home {
            command.env("HOME", home);
        }
        Container { pod: self, index, child: command.spawn().expect("unshare is needed") }
    }

    fn log(&self, index: usize, name: &str) -> PathBuf {
        self.folder.path().join(format!("{index}.{name}"))
    }
}

/// What is left of a container.
#[derive(Debug)]
pub(crate) struct Ended {
    /// As kubelet tells it: 128 and the signal's number for a killed process.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) message: String,
}

impl Ended {
    pub(crate) fn report(&self) -> Report {
        decode(&self.message).unwrap_or_else(|| panic!("no report: {self:?}"))
    }
}

impl Container<'_> {
    /// Waits until a file of the pod is there.
    pub(crate) fn until_exists(&mut self, name: &str) {
        let path = self.pod.path(name);
        self.until(name, || path.exists());
    }

    /// Waits until something holds, while the container runs.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !holds() {
            if let Some(status) = self.child.try_wait().unwrap() {
                // It may have been the last thing that the container did.
                assert!(holds(), "ended with {status} before {what}: {}", self.read("stderr"));
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{what} never came: {}", self.read("stderr"));
            sleep(Duration::from_millis(2));
        }
    }

    /// The process id of the container's first process on this machine.
    pub(crate) fn process_id(&self) -> i32 {
        let unshare = self.child.id();
        let children = format!("/proc/{unshare}/task/{unshare}/children");
        fs::read_to_string(children).unwrap().trim().parse().expect("one child")
    }

    pub(crate) fn signal(&self, name: &str) {
        let process = self.process_id().to_string();
        assert!(Command::new("kill").args(["-s", name, &process]).status().unwrap().success());
    }

    pub(crate) fn end(mut self) -> Ended {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begin.elapsed() < PATIENCE, "does not end: {}", self.read("stderr"));
            sleep(Duration::from_millis(2));
        };
        let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap();
        Ended {
            code,
            stdout: self.read("stdout"),
            stderr: self.read("stderr"),
            message: self.read("termination"),
        }
    }

    fn read(&self, name: &str) -> String {
        read_lossy(&self.pod.log(self.index, name))
    }
}

impl Drop for Container<'_> {
    /// A test that failed leaves no process; `--kill-child` ends the rest.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}
