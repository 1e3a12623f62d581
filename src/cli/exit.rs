//! Exit codes, the same for every verb.

use std::process::ExitCode;

/// How a verb ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or built.
    Done,
    /// The build failed, or a setting of the controller cannot be read.
    Failed,
    /// The objects are refused, or cannot be read.
    Refused,
    /// This machine does not let us do what was asked.
    Environment,
    /// The command line is not understood.
    Usage,
}

/// Printed below the help.
pub const HELP: &str = "Exit codes: 0 done, 1 build failed, 2 refused (also unreadable or invalid YAML), 3 environment, 64 usage; a bad setting ends the controller with 1";

impl Exit {
    /// The number for the system.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Refused => 2,
            Self::Environment => 3,
            Self::Usage => 64,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Prints what clap has to say: help for those who asked, else what is wrong with the command line.
pub fn usage(error: &clap::Error) -> Exit {
    // Nobody is left to tell if even this cannot be written.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}
