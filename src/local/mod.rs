//! This machine: files in.

mod config_error;
mod contents;
mod environment;
mod files;
mod happening;
mod load;
mod parameters;
mod pod_fields;
mod read;
mod secret_directory;
mod security;
mod volume_files;

pub use config_error::ConfigError;
pub use contents::{ConfigMapContent, Contents, SecretContent};
pub use environment::{environment, expanded};
pub use files::{Files, Located, Note};
pub use happening::Happening;
pub use load::{ChooseError, Chosen, Missing, choose, choose_run, load};
pub use parameters::{ParameterError, parameter_argument, set_parameters};
pub use pod_fields::Machine;
pub use read::{ReadError, read};
pub use secret_directory::{SecretError, secret_argument, secret_from_directory};
pub use security::{Flavour, Privileges, privileges};
pub use volume_files::{VolumeContent, VolumeFile, volume_files};
