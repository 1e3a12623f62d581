//! Names inside the pod: steps, containers, volumes, mount points.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::effective::{Effective, SourceOf};
use super::identity::IDENTITY_VOLUME;

/// Step that fetches a Git repository or an OCI artifact.
pub const SOURCE_STEP: &str = "source-default";
/// Step that waits for an upload.
pub const UPLOAD_STEP: &str = "source-local";
/// Step that changes and pushes the image.
pub const IMAGE_STEP: &str = "image-processing";
/// Volume that the strategy writes the image to.
pub const OUTPUT_VOLUME: &str = "shp-output-directory";
/// Volume with the vulnerability database.
pub const TRIVY_VOLUME: &str = "shp-trivy-cache-data";
/// Where the Secret of a source with a Git repository is mounted.
pub const CLONE_SECRET_PATH: &str = "/workspace/shp-source-secret";
/// Where the Secret of an OCI artifact is mounted.
pub const PULL_SECRET_PATH: &str = "/workspace/shp-pull-secret";
/// Where the Secret of the output is mounted.
pub const PUSH_SECRET_PATH: &str = "/workspace/shp-push-secret";

/// What a container's name begins with.
const CONTAINER_PREFIX: &str = "step-";
/// Longest name of a container or volume.
const MAX_NAME: usize = 63;

/// Name of a step's container.
pub fn container_name(step: &str) -> String {
    format!("{CONTAINER_PREFIX}{}", step_part(step))
}

/// Container of the step that waits for an upload.
pub fn upload_container() -> String {
    container_name(UPLOAD_STEP)
}

/// Whether a container of that name is a step's.
pub fn is_step(container: &str) -> bool {
    container.starts_with(CONTAINER_PREFIX)
}

/// Name of a container's step, or of the container where it is none's.
pub fn step_name(container: &str) -> &str {
    container.strip_prefix(CONTAINER_PREFIX).unwrap_or(container)
}

/// As much of a step's name as fits into its container's.
pub fn step_part(step: &str) -> &str {
    cut(step, MAX_NAME - CONTAINER_PREFIX.len()).trim_end_matches('-')
}

/// The first bytes of a name, whole characters only.
pub fn cut(name: &str, bytes: usize) -> &str {
    let mut end = name.len().min(bytes);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// Names of the supporting steps that a run may get.
pub fn supporting_step_names(effective: &Effective<'_>) -> impl Iterator<Item = &'static str> {
    let source = match effective.source() {
        SourceOf::Git(_) | SourceOf::Oci(_) => Some(SOURCE_STEP),
        SourceOf::Local(_) => Some(UPLOAD_STEP),
        SourceOf::Nothing => None,
    };
    source.into_iter().chain(effective.has_image_step().then_some(IMAGE_STEP))
}

/// Volume of a Secret: runs of characters that no volume name has become one dash. `taken` are the names of other volumes:
/// no two share one.
pub fn secret_volume(secret: &str, taken: &BTreeSet<String>) -> String {
    let mut name = String::from("shp-");
    let mut in_run = false;
    for c in secret.chars() {
        let fits = c.is_ascii_alphanumeric() || c == '-';
        if fits || !in_run {
            name.push(if fits { c.to_ascii_lowercase() } else { '-' });
        }
        in_run = !fits;
    }
    let name = cut(&name, MAX_NAME).trim_end_matches('-');
    if is_own_volume(name) || taken.contains(name) {
        return format!("{}-{}", cut(name, MAX_NAME - 9).trim_end_matches('-'), short_hash(secret));
    }
    name.to_owned()
}

/// Volume for `/shp-tmp` of a supporting step.
pub fn tmp_volume(step: &str) -> String {
    format!("shp-tmp-{step}-{}", short_hash(step))
}

/// Volume for `/shp-writable-home` of a supporting step.
pub fn home_volume(step: &str) -> String {
    format!("shp-home-{step}-{}", short_hash(step))
}

/// Prefix of most names of the pod's own volumes.
const OWN_VOLUME_PREFIX: &str = "slipway-";

/// Whether a volume of the pod's own may have this name, in this run or in another.
pub fn is_own_volume(name: &str) -> bool {
    let of_step = |step| name == tmp_volume(step) || name == home_volume(step);
    name.starts_with(OWN_VOLUME_PREFIX)
        || [OUTPUT_VOLUME, TRIVY_VOLUME, IDENTITY_VOLUME].contains(&name)
        || [SOURCE_STEP, UPLOAD_STEP, IMAGE_STEP].into_iter().any(of_step)
}

/// The first eight hexadecimal digits of SHA-256.
fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text);
    let first = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    format!("{first:08x}")
}

/// `<buildrun>-<5 characters>`: the characters depend on what makes the run unique. The result leaves room for `-pod` within the
/// 63 characters of a host name.
pub fn executor_name(buildrun: &str, unique: &str) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    const SUFFIX: usize = "-xxxxx-pod".len();
    let hash: String = Sha256::digest(unique)
        .iter()
        .take(5)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect();
    format!("{}-{hash}", cut(buildrun, MAX_NAME - SUFFIX).trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_volumes_are_named_as_upstream_names_them_and_never_shared() {
        for (secret, volume) in [
            ("a", "shp-a"),
            ("a.b", "shp-a-b"),
            ("a..b", "shp-a-b"),
            ("a.", "shp-a"),
            ("a-1", "shp-a-1"),
            ("a-.b", "shp-a--b"),
        ] {
            assert_eq!(secret_volume(secret, &BTreeSet::new()), volume);
        }
        let long = format!("{}--y", "x".repeat(57));
        assert_eq!(secret_volume(&long, &BTreeSet::new()), format!("shp-{}", "x".repeat(57)));
        for (secret, taken) in
            [("a.b", "shp-a-b"), ("security-context", ""), ("output-directory", "")]
        {
            let volume = secret_volume(secret, &BTreeSet::from([taken.to_owned()]));
            let plain = format!("shp-{}-", secret.replace('.', "-"));
            assert!(volume.starts_with(&plain) && volume.len() == plain.len() + 8, "{volume}");
        }
    }

    #[test]
    fn volumes_of_supporting_steps_have_upstreams_names() {
        assert_eq!(tmp_volume(SOURCE_STEP), "shp-tmp-source-default-42db8f45");
        assert_eq!(home_volume(UPLOAD_STEP), "shp-home-source-local-74bfdd93");
        assert_eq!(tmp_volume(IMAGE_STEP), "shp-tmp-image-processing-1bb408c0");
    }

    #[test]
    fn executor_names_fit_and_depend_on_what_is_unique_only() {
        let name = executor_name("run", "uid");
        assert_eq!(name, executor_name("run", "uid"));
        assert_ne!(name, executor_name("run", "other"));
        assert!(name.starts_with("run-") && name.len() == 9, "{name}");
        let long = executor_name(&"x".repeat(63), "uid");
        assert_eq!(format!("{long}-pod").len(), 63);
    }

    #[test]
    fn container_names_are_cut() {
        assert_eq!(container_name("build"), "step-build");
        assert_eq!(container_name(&"x".repeat(63)).len(), 63);
        assert_eq!(
            container_name(&format!("{}--yyyyy", "x".repeat(56))),
            format!("step-{}", "x".repeat(56))
        );
    }
}
