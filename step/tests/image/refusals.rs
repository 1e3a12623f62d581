//! What ends the step with an error, and what the error says.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rstest::rstest;
use serde_json::{Value, json};
use tempfile::tempdir;

use super::fake::{Server, answer, answer_with};
use super::layout::{IMAGE, INDEX, Layout, simple};
use super::registry::Registry;
use super::tools::{process, run};

/// Never reached: every refusal here comes before the registry is asked.
const NOWHERE: &str = "127.0.0.1:1/a/b:1";

#[test]
fn no_image_is_exit_100() {
    for arguments in [&[][..], &["--image", ""], &["--image=", "--push", "/nowhere"]] {
        assert!(process(arguments).failed(100).contains("--image"));
    }
}

#[rstest]
#[case(&["--image-timestamp", "1", "--image-timestamp-file", "f"], "exclude each other")]
#[case(&["--image-timestamp", "today"], "--image-timestamp is \"today\" instead of whole seconds since 1970")]
#[case(&["--image-timestamp-file", "/nowhere/at/all"], "--image-timestamp-file \"/nowhere/at/all\"")]
#[case(&["--image-timestamp-file", "/etc/hostname"], "--image-timestamp-file \"/etc/hostname\" is \"")]
#[case(&["--save", "/nowhere/at/all"], "--save needs --push")]
#[case(&["--vuln-settings", "{"], "--vuln-settings is not the JSON of output.vulnerabilityScan")]
#[case(&["--vuln-settings", "{\"ignore\":{\"severity\":\"critical\"}}"], "unknown variant `critical`, expected one of `low`, `medium`, `high`")]
#[case(&["--label", "novalue"], "--label \"novalue\" is not KEY=VALUE")]
#[case(&["--annotation", "novalue"], "--annotation \"novalue\" is not KEY=VALUE")]
#[case(&["--push", "/nowhere/at/all"], "/nowhere/at/all")]
#[case(&["--secret-path", "/nowhere/at/all"], "/nowhere/at/all")]
#[case(&["--image", "http://a/b"], "not an image reference")]
#[case(&["--image", "a/B:1"], "not an image reference")]
fn wrong_flags_are_named(#[case] arguments: &[&str], #[case] expected: &str) {
    let mut all = vec!["--image", NOWHERE];
    if arguments[0] == "--image" {
        all.clear();
    }
    let log = process(&[&all, arguments].concat()).failed(1);
    assert!(log.contains(expected), "{log}");
}

type Prepare = fn(&Path);

#[rstest]
#[case(|_: &Path| {}, "is empty; the strategy must leave an OCI layout or one docker archive")]
#[case(
    |dir: &Path| { fs::write(dir.join("b"), "").unwrap(); fs::write(dir.join("a"), "").unwrap() },
    "neither an index.json nor exactly one docker archive: a, b"
)]
#[case(|dir: &Path| fs::write(dir.join("a"), "text").unwrap(), "is not a docker archive: it cannot be read as tar")]
#[case(|dir: &Path| fs::write(dir.join("a"), [0x1f, 0x8b, 8, 0]).unwrap(), "it is compressed as a whole")]
#[case(|dir: &Path| fs::write(dir.join("a"), [0; 10240]).unwrap(), "\"manifest.json\" is not in it")]
#[case(|dir: &Path| fs::create_dir(dir.join("a")).unwrap(), "it is no regular file")]
#[case(|dir: &Path| pipe(&dir.join("a")), "it is no regular file")]
#[case(|dir: &Path| pipe(&dir.join("index.json")), "index.json\": it is no regular file")]
#[case(|dir: &Path| symlink("/dev/zero", dir.join("index.json")).unwrap(), "index.json\": it is no regular file")]
#[case(
    |dir: &Path| {
        let layout = Layout::new(dir);
        let mut image = layout.image("amd64", &[("a", b"a")]);
        let digest = format!("sha256:{}", "0".repeat(64));
        pipe(&blob(dir, &digest));
        layout.edit(&mut image, |manifest| {
            manifest["layers"][0]["digest"] = digest.into();
            manifest["layers"][0]["size"] = 0.into();
        });
        layout.finish(&[image]);
    },
    "it is no regular file"
)]
#[case(|dir: &Path| fs::write(dir.join("index.json"), "{").unwrap(), "index.json is not valid JSON")]
#[case(|dir: &Path| drop(Layout::new(dir).finish(&[])), "names no image")]
#[case(
    |dir: &Path| fs::File::create(dir.join("index.json")).unwrap().set_len(5 << 20).unwrap(),
    "a manifest or config may have at most"
)]
#[case(
    |dir: &Path| {
        let layout = Layout::new(dir);
        let odd = layout.blob("application/octet-stream", b"{}");
        layout.finish(&[odd]);
    },
    "neither an image nor an index"
)]
#[case(
    |dir: &Path| {
        let layout = Layout::new(dir);
        let mut image = layout.image("amd64", &[("a", b"a")]);
        image["digest"] = format!("sha256:{}", "0".repeat(64)).into();
        layout.finish(&[image]);
    },
    "No such file or directory"
)]
#[case(
    |dir: &Path| {
        let layout = Layout::new(dir);
        layout.finish(&[json!({"mediaType": IMAGE, "digest": "sha256:../../../../etc/passwd", "size": 1})]);
    },
    "index.json is not valid JSON"
)]
#[case(
    |dir: &Path| { let (layout, digest) = simple(dir); fs::write(blob(&layout, &digest), "{}").unwrap() },
    "instead of sha256:"
)]
fn a_wrong_output_folder_is_explained(#[case] prepare: Prepare, #[case] expected: &str) {
    let dir = tempdir().unwrap();
    prepare(dir.path());
    let log = process(&["--image", NOWHERE, "--push", dir.path().to_str().unwrap()]).failed(1);
    assert!(log.contains(expected), "{log}");
}

/// An index that names the one below it some times, and so on down to an image.
fn tower(layout: &Layout, levels: usize, times: usize) -> Value {
    let image = layout.image("amd64", &[("a", b"a")]);
    (0..levels).fold(image, |below, _| layout.index(&vec![below; times]))
}

const TOO_DEEP: &str = "it lies in more than 16 indexes";
const TOO_MANY: &str = "the image has more than 1000 manifests";

#[rstest]
#[case::one_in_another(17, 1, TOO_DEEP)]
#[case::some_in_each(16, 2, TOO_MANY)]
#[case::many_in_one(1, 1000, TOO_MANY)]
fn an_index_that_leads_to_too_much_is_refused(
    #[case] levels: usize,
    #[case] times: usize,
    #[case] expected: &str,
) {
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let top = tower(&layout, levels, times);
    let layout = layout.finish(std::slice::from_ref(&top));
    let log = process(&["--image", NOWHERE, "--push", layout.to_str().unwrap()]).failed(1);
    assert!(log.contains(expected), "{log}");

    let digest = top["digest"].as_str().unwrap().to_owned();
    let registry = Server::start(move |_, request| {
        let path = request.split(' ').nth(1).unwrap();
        let Some((_, name)) = path.split_once("s/") else { return answer("200 OK", &[]) };
        let name = if name == "1" { &digest } else { name };
        let body = fs::read_to_string(blob(&layout, name)).unwrap();
        let kind = if body.contains(INDEX) { INDEX } else { IMAGE };
        answer_with("200 OK", &[("Content-Type", kind)], &body)
    });
    let image = format!("127.0.0.1:{}/a:1", registry.port);
    let log = process(&["--image", &image, "--insecure"]).failed(1);
    assert!(log.contains(expected), "{log}");
}

#[rstest]
#[case::one_in_another(16, 1)]
#[case::many_in_one(1, 999)]
fn an_index_may_lead_to_much(#[case] levels: usize, #[case] times: usize) {
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let top = tower(&layout, levels, times);
    let layout = layout.finish(&[top]);
    let saved = dir.path().join("saved");
    let arguments = ["--push", layout.to_str().unwrap(), "--save", saved.to_str().unwrap()];
    process(&[&arguments[..], &["--image", "a", "--annotation", "a=b"]].concat()).succeeded();
}

fn pipe(path: &Path) {
    run("mkfifo", &[path.to_str().unwrap()]);
}

fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

/// The largest blob of a layout.
fn layer_of(layout: &Path) -> PathBuf {
    let blobs =
        fs::read_dir(layout.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    blobs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn a_cut_layer_is_found_before_the_push() {
    let dir = tempdir().unwrap();
    let (layout, _) = simple(dir.path());
    let layer = layer_of(&layout);
    fs::OpenOptions::new().write(true).open(&layer).unwrap().set_len(1000).unwrap();
    let log = process(&["--image", NOWHERE, "--push", layout.to_str().unwrap()]).failed(1);
    assert!(log.contains("has 1000 bytes instead of"), "{log}");
}

#[test]
fn a_changed_layer_is_never_part_of_an_image() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let (layout, _) = simple(dir.path());
    let layer = layer_of(&layout);
    let mut bytes = fs::read(&layer).unwrap();
    bytes[1000] ^= 1;
    fs::write(&layer, bytes).unwrap();
    let image = registry.image("changed:1");
    let arguments = ["--image", &image, "--insecure=true", "--push", layout.to_str().unwrap()];
    let log = process(&arguments).failed(1);
    assert!(
        log.contains("take blob sha256:")
            && log.contains("400 Bad Request: provided digest did not match"),
        "{log}"
    );
    let log = process(&["--image", &image, "--insecure=true"]).failed(1);
    assert!(log.contains("404 Not Found: manifest unknown"), "{log}");
}

#[test]
fn a_result_that_cannot_be_written_is_named() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let (layout, _) = simple(dir.path());
    let image = registry.image("result:1");
    let arguments = ["--image", &image, "--insecure", "--push", layout.to_str().unwrap()];
    let log =
        process(&[&arguments[..], &["--result-file-image-digest", "/nowhere/digest"]].concat());
    assert!(log.failed(1).contains("write result \"/nowhere/digest\""));
}
