//! `slipway-step tar`: what clients call by the name `tar` to upload a working copy. No plan writes it into a pod.

/// Options as GNU tar takes them.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(disable_help_flag = true)]
pub struct TarCommand {
    /// Options to unpack what is read
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    pub arguments: Vec<String>,
}

impl TarCommand {
    /// The arguments behind the program's name.
    pub fn to_args(&self) -> Vec<String> {
        std::iter::once("tar".to_owned()).chain(self.arguments.iter().cloned()).collect()
    }
}
