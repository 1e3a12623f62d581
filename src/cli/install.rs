//! `slipway install`: what a cluster needs, to apply.

use super::{Error, Exit, print_text};
use crate::cluster::install::{IMAGE, Images, manifest};

pub const EXAMPLES: &str = "Examples:
  slipway install | kubectl apply -f -
  slipway install --image registry.example.com/slipway/controller:0.1.0 --step-image registry.example.com/slipway/step:0.1.0 | kubectl apply -f -";

#[derive(Debug, clap::Args)]
pub struct InstallArguments {
    /// Image of the controller
    #[arg(long, default_value = IMAGE)]
    image: String,
    /// Image of the supporting steps in build Pods [default: the controller's, see slipway controller --help]
    #[arg(long, value_name = "IMAGE")]
    step_image: Option<String>,
}

/// Prints the definitions and objects as YAML.
pub fn install(arguments: &InstallArguments) -> Result<Exit, Error> {
    let images = Images { controller: arguments.image.clone(), step: arguments.step_image.clone() };
    let text = manifest(&images)
        .map_err(|source| Error::Print { name: "the objects to install".into(), source })?;
    print_text(&text)?;
    Ok(Exit::Done)
}
