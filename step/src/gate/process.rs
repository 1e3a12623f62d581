//! The step's command as a child: started, signalled, reaped.
//!
//! Invariant: a signal that arrives before [`Supervisor::run`] ends this program at once; every later one reaches the command,
//! also if it comes before the command is there.
//! Invariant: a command that was told to end has not ended well, whatever its exit code: its pod is being ended, and a later step
//! must not go on with what it left behind.
//! Invariant: every process that ends below this program is reaped, whoever started it.
//!
//! PID 1 gets no signal that it has no handler for, and orphans become its children; without both, ending a pod takes the
//! whole grace period and a build fills the process table.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process_group, set_child_subreaper, wait,
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag::register_conditional_shutdown;
use signal_hook::iterator::Signals;

use super::memory;
use crate::protocol::PROGRAM;

/// What ends a gate that still waits for its turn.
const ENDING: [i32; 4] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT];
/// What a running command gets to see.
const FORWARDED: [i32; 6] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];
/// What a shell makes of a death by signal.
const SIGNALLED: i32 = 128;

/// Why a command could not be started or followed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Handlers cannot be set.
    #[error("prepare for signals")]
    Signals(#[source] io::Error),
    /// This very program cannot be found.
    #[error("find the running program")]
    Locate(#[source] io::Error),
    /// No such program.
    #[error(
        "{program}: command not found in the step's image; check `command` and the image's PATH"
    )]
    NotFound {
        /// The program.
        program: String,
    },
    /// The program is there, what shall interpret or load it is not.
    #[error(
        "{program}: its interpreter or loader is missing in the step's image; check the script's first line or the image"
    )]
    NoInterpreter {
        /// The program.
        program: String,
    },
    /// The program may not be executed.
    #[error(
        "{program}: not an executable file for this user; check its mode and that it is no directory"
    )]
    NotExecutable {
        /// The program.
        program: String,
    },
    /// The program is for another machine, or a script that does not say what interprets it.
    #[error(
        "{program}: exec format error; check that the image is built for this node's architecture, or the script's first line"
    )]
    Format {
        /// The program.
        program: String,
    },
    /// Anything else.
    #[error("{program}: cannot be started")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The command cannot be waited for.
    #[error("wait for the command")]
    Wait(#[source] io::Error),
}

impl ProcessError {
    /// The exit code that a shell would give.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Signals(_) | Self::Locate(_) | Self::Wait(_) => 1,
            Self::NotFound { .. } | Self::NoInterpreter { .. } => 127,
            Self::NotExecutable { .. } | Self::Format { .. } | Self::Start { .. } => 126,
        }
    }

    fn start(program: &OsStr, source: io::Error) -> Self {
        let name = program.to_string_lossy().into_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::NOENT) if find(program).is_some() => Self::NoInterpreter { program: name },
            Some(Errno::NOENT | Errno::NOTDIR) => Self::NotFound { program: name },
            Some(Errno::ACCESS | Errno::ISDIR) => Self::NotExecutable { program: name },
            Some(Errno::NOEXEC) => Self::Format { program: name },
            _ => Self::Start { program: name, source },
        }
    }
}

/// The signals of this program, from its first moment on.
#[derive(Debug)]
pub(super) struct Supervisor {
    waiting: Arc<AtomicBool>,
    signals: Signals,
}

impl Supervisor {
    /// Sets the handlers.
    pub(super) fn install() -> Result<Self, ProcessError> {
        let waiting = Arc::new(AtomicBool::new(true));
        for signal in ENDING {
            register_conditional_shutdown(signal, SIGNALLED + signal, Arc::clone(&waiting))
                .map_err(ProcessError::Signals)?;
        }
        // Recorded from now on, so that none is lost between the end of the waiting and the start of the command.
        let signals =
            Signals::new(FORWARDED.iter().chain(&[SIGCHLD])).map_err(ProcessError::Signals)?;
        // Orphans come here also where somebody else is PID 1, as with a shared process namespace.
        set_child_subreaper(Some(getpid())).map_err(|errno| ProcessError::Signals(errno.into()))?;
        Ok(Self { waiting, signals })
    }

    /// Runs the command to its end; its exit code, or 128 and the number of the signal that killed it, or that it was told to end
    /// by and obeyed with 0.
    pub(super) fn run(mut self, command: &[String]) -> Result<u8, ProcessError> {
        let (program, arguments) = match command.split_first() {
            Some((name, rest)) if name == PROGRAM => {
                (env::current_exe().map_err(ProcessError::Locate)?.into_os_string(), rest)
            }
            Some((name, rest)) => (OsString::from(name), rest),
            None => return Err(ProcessError::NotFound { program: String::new() }),
        };
        self.waiting.store(false, Ordering::SeqCst);
        let mut command = Command::new(&program);
        command.args(arguments).stdin(Stdio::null()).process_group(0);
        let child = memory::exposed(|| command.spawn())
            .map_err(|source| ProcessError::start(&program, source))?;
        let child = Pid::from_child(&child);
        let mut told = None;
        loop {
            // Before the first wait too: an end is recorded, but so is the end of any orphan.
            if let Some(status) = reap(child)? {
                return Ok(exit_code(status, told));
            }
            for signal in self.signals.wait() {
                forward(child, signal);
                if ENDING.contains(&signal) {
                    told = told.or(Some(signal));
                }
            }
        }
    }
}

/// Reaps all that ended; the status of the child once it is among them.
fn reap(child: Pid) -> Result<Option<WaitStatus>, ProcessError> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => return Ok(Some(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(None),
            Err(errno) => return Err(ProcessError::Wait(errno.into())),
        }
    }
}

/// Passes a signal to the child's process group.
fn forward(child: Pid, signal: i32) {
    let Some(signal) = Signal::from_named_raw(signal).filter(|signal| *signal != Signal::CHILD)
    else {
        return;
    };
    if let Err(errno) = kill_process_group(child, signal) {
        super::log(&format!("signal {} not passed on: {errno}", signal.as_raw()));
    }
}

fn exit_code(status: WaitStatus, told: Option<i32>) -> u8 {
    let code = match (status.terminating_signal(), status.exit_status(), told) {
        (Some(signal), ..) | (None, Some(0), Some(signal)) => SIGNALLED + signal,
        (None, code, _) => code.unwrap_or(1),
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// The file that a command names, looked up as the system does.
fn find(program: &OsStr) -> Option<PathBuf> {
    if Path::new(program).components().count() > 1 {
        return Path::new(program).exists().then(|| program.into());
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}
