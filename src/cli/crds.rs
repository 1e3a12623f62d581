//! `slipway crds`

use std::path::Path;

use super::{Error, Exit, print_text};
use crate::api::crd;

/// Prints the CustomResourceDefinitions, or writes one file each.
pub fn crds(directory: Option<&Path>) -> Result<Exit, Error> {
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory)
            .map_err(|source| Error::Write { path: directory.into(), source })?;
    }
    for crd in crd::crds() {
        let yaml = crd::to_yaml(&crd).map_err(|source| Error::Print {
            name: crd.metadata.name.clone().unwrap_or_default(),
            source,
        })?;
        match directory {
            Some(directory) => {
                let path = directory.join(crd::file_name(&crd));
                std::fs::write(&path, yaml).map_err(|source| Error::Write { path, source })?;
            }
            None => print_text(&yaml)?,
        }
    }
    Ok(Exit::Done)
}
