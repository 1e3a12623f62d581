//! Reads a docker archive, as `docker save` writes it.
//!
//! Invariant: the config is pushed byte for byte; each layer is checked against the config's `diff_ids`.
//! Invariant: memory does not grow with the archive: it is indexed once and its layers are read where they lie.
//!
//! Layers in such an archive are usually not compressed, but registries and their readers expect gzip. What a layer is called
//! and how long it is must be known before it is sent, and there may be no disk to keep the compressed form: so such a layer is
//! compressed twice, once to count and once to send.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::json;

use super::OciError;
use super::blob::{Blob, Compress, Content, Hashing, Part, digest_of, open_regular};
use super::manifest::{DOCKER_IMAGE, Manifest, parse};

const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Links in an archive lead from one layer to an equal one; more than this is a circle.
const MAX_LINKS: usize = 16;

/// One entry of `manifest.json`; its tags do not matter, the image is pushed under the name of the build.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// The image in the only file of the folder.
pub(super) fn load(dir: &Path) -> Result<Manifest, OciError> {
    let archive = Archive::open(only_file(dir)?)?;
    let entries: Vec<Entry> = parse(&archive.document("manifest.json")?, "manifest.json")?;
    let [entry] = entries.as_slice() else {
        return Err(archive.problem(format!("it holds {} images instead of one", entries.len())));
    };
    let config_bytes = archive.document(&entry.config)?;
    let config: Config = parse(&config_bytes, &entry.config)?;
    let diff_ids = config.rootfs.diff_ids;
    if diff_ids.len() != entry.layers.len() {
        return Err(archive.problem(format!(
            "its config speaks of {} layers and its manifest.json of {}",
            diff_ids.len(),
            entry.layers.len()
        )));
    }
    let layers = entry
        .layers
        .iter()
        .zip(&diff_ids)
        .map(|(name, diff_id)| archive.layer(name, diff_id))
        .collect::<Result<Vec<_>, _>>()?;
    let config = Blob {
        digest: digest_of(&config_bytes),
        size: config_bytes.len() as u64,
        content: Content::Bytes(config_bytes),
    };
    Ok(build_manifest(config, layers))
}

fn build_manifest(config: Blob, layers: Vec<Blob>) -> Manifest {
    let describe = |media_type: &str, blob: &Blob| json!({ "mediaType": media_type, "size": blob.size, "digest": blob.digest });
    let document = json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_IMAGE,
        "config": describe(CONFIG_TYPE, &config),
        "layers": layers.iter().map(|layer| describe(LAYER_TYPE, layer)).collect::<Vec<_>>(),
    });
    let bytes = document.to_string().into_bytes();
    let blobs = std::iter::once(config).chain(layers).collect();
    Manifest { media_type: DOCKER_IMAGE.to_owned(), bytes, blobs, children: Vec::new() }
}

pub(super) fn only_file(dir: &Path) -> Result<PathBuf, OciError> {
    let read = |source| OciError::Read { path: dir.to_owned(), source };
    let entries = fs::read_dir(dir).map_err(read)?.collect::<Result<Vec<_>, _>>().map_err(read)?;
    match entries.as_slice() {
        [] => Err(OciError::NoOutput { dir: dir.to_owned() }),
        [only] => Ok(only.path()),
        several => {
            let mut names: Vec<_> = several
                .iter()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names.truncate(10);
            Err(OciError::SeveralOutputs { dir: dir.to_owned(), names: names.join(", ") })
        }
    }
}

/// Where in the file an entry's content lies, or which other entry it is.
enum Place {
    At { offset: u64, length: u64 },
    Link(String),
}

struct Archive {
    path: PathBuf,
    places: BTreeMap<String, Place>,
}

impl Archive {
    fn open(path: PathBuf) -> Result<Self, OciError> {
        let mut archive = Self { path, places: BTreeMap::new() };
        archive.index()?;
        Ok(archive)
    }

    fn index(&mut self) -> Result<(), OciError> {
        let read = |source| OciError::Read { path: self.path.clone(), source };
        let mut file = open_regular(&self.path).map_err(read)?;
        let mut start = Vec::new();
        file.by_ref().take(2).read_to_end(&mut start).map_err(read)?;
        if start == GZIP {
            return Err(self.problem("it is compressed as a whole; leave the archive uncompressed"));
        }
        let file = open_regular(&self.path).map_err(read)?;
        let not_tar = |source| self.problem(format!("it cannot be read as tar ({source})"));
        let mut places = BTreeMap::new();
        let mut archive = tar::Archive::new(file);
        for entry in archive.entries_with_seek().map_err(not_tar)? {
            let entry = entry.map_err(not_tar)?;
            let name = normalize(&entry.path().map_err(not_tar)?);
            let kind = entry.header().entry_type();
            let place = if kind.is_file() || kind.is_contiguous() {
                Place::At { offset: entry.raw_file_position(), length: entry.size() }
            } else if let Some(target) = entry.link_name().map_err(not_tar)? {
                // A symbolic link is relative to its folder, a hard link to the archive.
                let base = if kind.is_symlink() { Path::new(&name).parent() } else { None };
                Place::Link(normalize(&base.unwrap_or(Path::new("")).join(target)))
            } else {
                continue;
            };
            places.insert(name, place);
        }
        self.places = places;
        Ok(())
    }

    fn part(&self, name: &str) -> Result<Part, OciError> {
        let mut key = normalize(Path::new(name));
        for _ in 0..MAX_LINKS {
            match self.places.get(&key) {
                Some(&Place::At { offset, length }) => {
                    return Ok(Part { path: self.path.clone(), offset, length });
                }
                Some(Place::Link(target)) => key.clone_from(target),
                None => return Err(self.problem(format!("{key:?} is not in it"))),
            }
        }
        Err(self.problem(format!("the links of {name:?} lead nowhere")))
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, OciError> {
        let part = self.part(name)?;
        OciError::check_document_size(&format!("{name} in {}", self.path.display()), part.length)?;
        let mut bytes = Vec::new();
        part.open().and_then(|mut content| content.read_to_end(&mut bytes)).map_err(self.read())?;
        Ok(bytes)
    }

    fn layer(&self, name: &str, diff_id: &str) -> Result<Blob, OciError> {
        let part = self.part(name)?;
        let mut start = Vec::new();
        part.open()
            .and_then(|content| content.take(2).read_to_end(&mut start))
            .map_err(self.read())?;
        let (content, (digest, size), found) = if start == GZIP {
            let mut compressed = Hashing::new(part.open().map_err(self.read())?);
            let (found, _) = Hashing::new(MultiGzDecoder::new(BufReader::with_capacity(
                1 << 16,
                &mut compressed,
            )))
            .finish()
            .map_err(self.read())?;
            (Content::Part(part), compressed.finish().map_err(self.read())?, found)
        } else {
            let mut plain = Hashing::new(part.open().map_err(self.read())?);
            let pushed = Hashing::new(Compress::new(&mut plain)).finish().map_err(self.read())?;
            (Content::Gzip(part), pushed, plain.finish().map_err(self.read())?.0)
        };
        if found != diff_id {
            let what = format!("layer {name} in {}", self.path.display());
            return Err(OciError::WrongDigest { what, expected: diff_id.to_owned(), found });
        }
        Ok(Blob { digest, size, content })
    }

    fn read(&self) -> impl Fn(std::io::Error) -> OciError + Copy + '_ {
        |source| OciError::Read { path: self.path.clone(), source }
    }

    fn problem(&self, problem: impl Into<String>) -> OciError {
        OciError::NotAnArchive { path: self.path.clone(), problem: problem.into() }
    }
}

/// `./a/../b` and `/b` are `b`.
fn normalize(path: &Path) -> String {
    let mut names: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => drop(names.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    names.join("/")
}
