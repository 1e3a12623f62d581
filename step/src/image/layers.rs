//! Layers with another time in all of their entries.
//!
//! Invariant: a layer whose entries have that time already stays what it is; others are unpacked and packed again, once each.
//! Invariant: no layer is held in memory. A changed one lies in a temporary folder until it is pushed; one from the registry lies
//! there only while it is read.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::ImageError;
use super::tar_times::{Retimed, TarError};
use crate::oci::{Blob, Content, Layer, OciError, Packing};

/// Gets a blob from where the image is into a file.
pub(super) type Fetch<'a> = dyn Fn(&Blob, &Path) -> Result<Blob, OciError> + 'a;

/// The layers of one run.
pub(super) struct Layers<'a> {
    fetch: &'a Fetch<'a>,
    /// Made for the first layer.
    dir: Option<TempDir>,
    /// By the digest of the layer before; images of one index have layers in common.
    done: BTreeMap<String, Option<Changed>>,
}

/// A layer that is not what it was.
#[derive(Debug, Clone)]
pub(super) struct Changed {
    pub(super) blob: Blob,
    pub(super) diff_id: String,
}

impl<'a> Layers<'a> {
    pub(super) fn new(fetch: &'a Fetch<'a>) -> Self {
        Self { fetch, dir: None, done: BTreeMap::new() }
    }

    /// The layer with that time everywhere; nothing where it has no other one.
    pub(super) fn retime(
        &mut self,
        layer: Layer<'_>,
        seconds: i64,
    ) -> Result<Option<Changed>, ImageError> {
        if let Some(done) = self.done.get(&layer.blob.digest) {
            return Ok(done.clone());
        }
        let name = layer.blob.digest.replace(':', "-");
        let changed = if matches!(layer.blob.content, Content::Remote) {
            let path = self.dir()?.join(format!("{name}.before"));
            let blob = (self.fetch)(layer.blob, &path)?;
            let changed = self.retime_local(Layer { blob: &blob, ..layer }, seconds, &name)?;
            fs::remove_file(&path).map_err(|source| scratch(&path, source))?;
            changed
        } else {
            self.retime_local(layer, seconds, &name)?
        };
        self.done.insert(layer.blob.digest.clone(), changed.clone());
        Ok(changed)
    }

    fn retime_local(
        &mut self,
        layer: Layer<'_>,
        seconds: i64,
        name: &str,
    ) -> Result<Option<Changed>, ImageError> {
        if has_only(layer, seconds)? {
            eprintln!("kept {}: its entries have that time already", layer.blob.digest);
            return Ok(None);
        }
        pack(layer, seconds, &self.dir()?.join(name)).map(Some)
    }

    fn dir(&mut self) -> Result<PathBuf, ImageError> {
        if self.dir.is_none() {
            let dir =
                tempfile::tempdir().map_err(|source| scratch(&std::env::temp_dir(), source))?;
            self.dir = Some(dir);
        }
        let dir = self.dir.as_ref().map(TempDir::path);
        Ok(dir.unwrap_or(Path::new("")).to_owned())
    }
}

/// Whether the layer has no other time; one that has is not read further than to the first.
fn has_only(layer: Layer<'_>, seconds: i64) -> Result<bool, ImageError> {
    let mut has_only = true;
    layer.read(|content: &mut dyn Read| {
        let mut retimed = Retimed::new(content, seconds);
        while let Some(piece) = retimed.next().map_err(|source| corrupt(layer, source))? {
            if piece.is_changed {
                has_only = false;
                break;
            }
        }
        Ok::<_, ImageError>(has_only)
    })?;
    Ok(has_only)
}

fn pack(layer: Layer<'_>, seconds: i64, path: &Path) -> Result<Changed, ImageError> {
    let write = |source| scratch(path, source);
    let mut packing = Packing::new(path, layer.compression).map_err(write)?;
    layer.read(|content: &mut dyn Read| {
        let mut retimed = Retimed::new(content, seconds);
        while let Some(piece) = retimed.next().map_err(|source| corrupt(layer, source))? {
            packing.write(piece.bytes).map_err(write)?;
        }
        Ok::<_, ImageError>(true)
    })?;
    let (blob, diff_id) = packing.finish().map_err(write)?;
    Ok(Changed { blob, diff_id })
}

fn corrupt(layer: Layer<'_>, source: TarError) -> ImageError {
    ImageError::Layer { digest: layer.blob.digest.clone(), source }
}

fn scratch(path: &Path, source: io::Error) -> ImageError {
    ImageError::Scratch { path: path.to_owned(), source }
}
