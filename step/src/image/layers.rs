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
use super::tar_times::Retimed;
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
        let path = self.dir()?.join(&name);
        let changed = if matches!(layer.blob.content, Content::Remote) {
            let fetched = self.dir()?.join(format!("{name}.before"));
            let blob = (self.fetch)(layer.blob, &fetched)?;
            let changed = retime(Layer { blob: &blob, ..layer }, seconds, &path)?;
            fs::remove_file(&fetched).map_err(|source| scratch(&fetched, source))?;
            changed
        } else {
            retime(layer, seconds, &path)?
        };
        self.done.insert(layer.blob.digest.clone(), changed.clone());
        Ok(changed)
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

fn retime(layer: Layer<'_>, seconds: i64, path: &Path) -> Result<Option<Changed>, ImageError> {
    let corrupt = |source| ImageError::Layer { digest: layer.blob.digest.clone(), source };
    let mut is_other = false;
    layer.read(|content: &mut dyn Read| {
        let mut retimed = Retimed::new(content, seconds);
        while let Some(piece) = retimed.next().map_err(corrupt)? {
            if piece.is_changed {
                is_other = true;
                return Ok(false);
            }
        }
        Ok::<_, ImageError>(true)
    })?;
    if !is_other {
        eprintln!("kept {}: its entries have that time already", layer.blob.digest);
        return Ok(None);
    }
    let write = |source| scratch(path, source);
    let mut packing = Packing::new(path, layer.compression).map_err(write)?;
    layer.read(|content: &mut dyn Read| {
        let mut retimed = Retimed::new(content, seconds);
        while let Some(piece) = retimed.next().map_err(corrupt)? {
            packing.write(piece.bytes).map_err(write)?;
        }
        Ok::<_, ImageError>(true)
    })?;
    let (blob, diff_id) = packing.finish().map_err(write)?;
    Ok(Some(Changed { blob, diff_id }))
}

fn scratch(path: &Path, source: io::Error) -> ImageError {
    ImageError::Scratch { path: path.to_owned(), source }
}
