//! One way to print flags.

/// Collects `--flag value` pairs in the order in which they are said.
#[derive(Debug, Default)]
pub(super) struct Args(Vec<String>);

impl Args {
    pub(super) fn new(command: &str) -> Self {
        Self(vec![command.to_owned()])
    }

    /// A switch without a value, printed only when it is on.
    pub(super) fn switch(mut self, flag: &str, on: bool) -> Self {
        if on {
            self.0.push(format!("--{flag}"));
        }
        self
    }

    /// `--flag value`, as upstream prints its helpers' flags.
    pub(super) fn value(mut self, flag: &str, value: impl Into<String>) -> Self {
        self.0.push(format!("--{flag}"));
        self.0.push(value.into());
        self
    }

    /// `--flag value` where there is one.
    pub(super) fn optional(self, flag: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.value(flag, value),
            None => self,
        }
    }

    /// `--flag value` once for each.
    pub(super) fn each(self, flag: &str, values: impl IntoIterator<Item = String>) -> Self {
        values.into_iter().fold(self, |args, value| args.value(flag, value))
    }

    /// `--flag=value` in one argument.
    pub(super) fn joined(mut self, flag: &str, value: impl std::fmt::Display) -> Self {
        self.0.push(format!("--{flag}={value}"));
        self
    }

    /// An argument as it is.
    pub(super) fn plain(mut self, value: &str) -> Self {
        self.0.push(value.to_owned());
        self
    }

    pub(super) fn done(self) -> Vec<String> {
        self.0
    }
}
