//! Which image of an index is meant.

use std::env::consts::ARCH;

use oci_spec::image::{Arch, Descriptor, ImageIndex, Os};

use super::OciError;
use super::manifest::Kind;

/// The processor of this machine, as images call it.
pub(super) fn of_this_machine() -> Arch {
    match ARCH {
        "x86_64" => Arch::Amd64,
        "aarch64" => Arch::ARM64,
        "powerpc64" => Arch::PowerPC64le,
        other => other.into(),
    }
}

/// The entry for Linux on the given processor, else the one for Linux on amd64, which upstream takes everywhere, else the only one.
pub(super) fn choose<'a>(
    index: &'a ImageIndex,
    architecture: &Arch,
    what: &str,
) -> Result<&'a Descriptor, OciError> {
    let images: Vec<&Descriptor> =
        index.manifests().iter().filter(|entry| is_image(entry)).collect();
    let of = |architecture: &Arch| {
        images.iter().copied().find(|entry| {
            entry.platform().as_ref().is_some_and(|platform| {
                *platform.os() == Os::Linux && platform.architecture() == architecture
            })
        })
    };
    let only = || if let [only] = images[..] { Some(only) } else { None };
    of(architecture).or_else(|| of(&Arch::Amd64)).or_else(only).ok_or_else(|| {
        let there: Vec<String> = images.iter().map(|entry| described(entry)).collect();
        OciError::NoPlatform {
            what: what.to_owned(),
            wanted: format!("linux/{architecture}"),
            there: if there.is_empty() { "no image".to_owned() } else { there.join(", ") },
        }
    })
}

/// Neither an attestation about one nor a file.
fn is_image(entry: &Descriptor) -> bool {
    let is_unknown = entry
        .platform()
        .as_ref()
        .is_some_and(|platform| matches!(platform.os(), Os::Other(name) if name == "unknown"));
    Kind::of(entry.media_type()) != Kind::Other && !is_unknown
}

fn described(entry: &Descriptor) -> String {
    match entry.platform() {
        Some(platform) => format!("{}/{}", platform.os(), platform.architecture()),
        None => entry.digest().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn index(platforms: &[&str]) -> ImageIndex {
        let entry = |(index, platform): (usize, &&str)| {
            let (os, architecture) = platform.split_once('/').unwrap_or_default();
            let mut entry = json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": format!("sha256:{index:064}"),
                "size": 2,
            });
            if !os.is_empty() {
                entry["platform"] = json!({ "os": os, "architecture": architecture });
            }
            entry
        };
        let manifests: Vec<Value> = platforms.iter().enumerate().map(entry).collect();
        serde_json::from_value(json!({ "schemaVersion": 2, "manifests": manifests })).unwrap()
    }

    #[rstest]
    #[case::own(&["linux/amd64", "linux/arm64"], Some(1))]
    #[case::upstreams(&["linux/s390x", "linux/amd64"], Some(1))]
    #[case::only(&["linux/s390x"], Some(0))]
    #[case::only_without_platform(&[""], Some(0))]
    #[case::beside_an_attestation(&["unknown/unknown", "linux/s390x"], Some(1))]
    #[case::none(&["unknown/unknown"], None)]
    #[case::several_others(&["linux/s390x", "windows/arm64"], None)]
    fn an_image_is_chosen(#[case] platforms: &[&str], #[case] chosen: Option<usize>) {
        let index = index(platforms);
        let found = choose(&index, &Arch::ARM64, "the index").ok();
        assert_eq!(found, chosen.map(|number| &index.manifests()[number]));
    }

    #[test]
    fn what_is_there_is_said() {
        let index = index(&["linux/s390x", "windows/arm64"]);
        let error = choose(&index, &Arch::ARM64, "index x").unwrap_err();
        let text = "index x has no image for linux/arm64; it has linux/s390x, windows/arm64";
        assert!(error.to_string().starts_with(text), "{error}");
    }
}
