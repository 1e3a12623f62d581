//! The scan for vulnerabilities, by a stand-in for trivy that writes down how it is called and reports what the test says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rstest::rstest;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::layout::Layout;
use super::registry::{Options, PASSWORD, Registry, USER};
use super::tools::{Ran, finish, run, skopeo_config, skopeo_raw, step};

/// Never reached: what is refused before a push asks no registry.
const NOWHERE: &str = "127.0.0.1:1/a/b:1";

/// A call of it leaves its arguments, environment and docker configuration; the report and the exit code are those of this try.
const STAND_IN: &str = r#"#!/bin/sh
set -eu
here=${0%/*}
try=$(($(cat "$here/tries" 2>/dev/null || echo 0) + 1))
echo $try >"$here/tries"
printf '%s\n' "$@" >"$here/arguments"
tr '\0' ' ' </proc/$$/cmdline >"$here/cmdline"
env >"$here/environment"
if [ -n "${DOCKER_CONFIG:-}" ]; then
    cat "$DOCKER_CONFIG/config.json" >"$here/config"
    stat -c '%a' "$DOCKER_CONFIG" "$DOCKER_CONFIG/config.json" >"$here/modes"
fi
if [ -f "$here/says-$try" ]; then cat "$here/says-$try" >&2; exit 1; fi
cat "$here/report"
"#;

struct Trivy {
    dir: TempDir,
}

impl Trivy {
    /// One that reports these vulnerabilities.
    fn reporting(vulnerabilities: &[(&str, &str)]) -> Self {
        let entries: Vec<Value> = vulnerabilities
            .iter()
            .map(|(id, severity)| json!({ "VulnerabilityID": id, "Severity": severity }))
            .collect();
        let report = json!({ "SchemaVersion": 2, "Results": [
            { "Target": "nothing", "Vulnerabilities": null },
            { "Target": "debian", "Class": "os-pkgs", "Vulnerabilities": entries },
        ] });
        Self::printing(&report.to_string())
    }

    fn printing(report: &str) -> Self {
        let trivy = Self { dir: tempdir().unwrap() };
        let program = trivy.file("trivy");
        fs::write(&program, STAND_IN).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(trivy.file("report"), report).unwrap();
        fs::create_dir(trivy.file("tmp")).unwrap();
        trivy
    }

    /// It ends with an error at this try, and says so.
    fn failing(self, attempt: u32, says: &str) -> Self {
        fs::write(self.file(&format!("says-{attempt}")), says).unwrap();
        self
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    fn arguments(&self) -> Vec<String> {
        self.read("arguments").lines().map(String::from).collect()
    }

    /// The step with this trivy and these settings.
    fn process(&self, settings: &Value, arguments: &[&str]) -> Ran {
        let path = format!("{}:{}", self.dir.path().display(), std::env::var("PATH").unwrap());
        let mut command = step();
        command.env("PATH", path).env("TMPDIR", self.file("tmp"));
        command.env("TRIVY_CACHE_DIR", "/trivy-cache-data").env_remove("DOCKER_CONFIG");
        command.args(arguments).args(["--vuln-settings", &settings.to_string()]);
        command.arg("--result-file-image-vulnerabilities").arg(self.file("result"));
        let ran = finish(&mut command);
        let left = fs::read_dir(self.file("tmp")).unwrap().count();
        assert_eq!(left, 0, "something is left behind: {}", ran.log);
        ran
    }

    /// What it comes to for an image in a folder, which is pushed nowhere.
    fn result(&self, settings: &Value, more: &[&str]) -> String {
        let dir = tempdir().unwrap();
        let layout = small(dir.path());
        let saved = dir.path().join("saved");
        let arguments = ["--push", layout.to_str().unwrap(), "--save", saved.to_str().unwrap()];
        self.process(settings, &[&arguments[..], &["--image", "app:1"], more].concat()).succeeded();
        assert!(saved.exists());
        fs::read_to_string(self.file("result")).unwrap()
    }
}

/// A layout with one image of one small file.
fn small(dir: &Path) -> PathBuf {
    let layout = Layout::new(dir);
    let image = layout.image("amd64", &[("hello", b"hello\n")]);
    layout.finish(&[image])
}

fn enabled() -> Value {
    json!({ "enabled": true })
}

fn failing() -> Value {
    json!({ "enabled": true, "failOnFinding": true })
}

#[test]
fn what_is_found_in_a_layout_is_told_and_the_image_is_pushed() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let layout = small(dir.path());
    let image = registry.image("found:1");
    let trivy = Trivy::reporting(&[("CVE-2024-1", "LOW"), ("CVE-2024-2", "CRITICAL")]);
    let layout = layout.to_str().unwrap();
    let arguments = ["--push", layout, "--image", &image, "--insecure=true", "--label", "a=b"];
    let log = trivy.process(&enabled(), &arguments).succeeded().log;

    let expected = [
        &["image", "--quiet", "--disable-telemetry", "--skip-version-check"][..],
        &["--format", "json", "--input", layout],
    ];
    assert_eq!(trivy.arguments(), expected.concat());
    assert!(trivy.read("environment").contains("TRIVY_CACHE_DIR=/trivy-cache-data\n"));
    assert_eq!(trivy.read("config"), "");
    assert_eq!(trivy.read("result"), "CVE-2024-2:c,CVE-2024-1:l");
    let mode = fs::metadata(trivy.file("result")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert!(log.contains("vulnerability CVE-2024-2, critical"), "{log}");
    assert_eq!(skopeo_config(&image)["config"]["Labels"]["a"], "b");
}

#[test]
fn a_docker_archive_is_scanned_by_its_own_name() {
    let dir = tempdir().unwrap();
    let layout = small(&dir.path().join("layout"));
    let output = dir.path().join("output");
    fs::create_dir(&output).unwrap();
    let file = output.join("image");
    let archive = format!("docker-archive:{}:x/y:z", file.display());
    run("skopeo", &["copy", &format!("oci:{}", layout.display()), &archive]);
    let trivy = Trivy::reporting(&[]);
    let saved = dir.path().join("saved");
    let arguments = ["--push", output.to_str().unwrap(), "--save", saved.to_str().unwrap()];
    trivy.process(&enabled(), &[&arguments[..], &["--image", "app:1"]].concat()).succeeded();
    assert_eq!(trivy.arguments()[6..], ["--input", file.to_str().unwrap()]);
    // Nothing was found, and somebody looked.
    assert_eq!(fs::read_to_string(trivy.file("result")).unwrap(), "");
}

#[rstest]
#[case(json!({}), &[])]
#[case(json!({ "severity": "low" }), &["--severity", "MEDIUM,HIGH,CRITICAL"])]
#[case(json!({ "severity": "medium" }), &["--severity", "HIGH,CRITICAL"])]
#[case(json!({ "severity": "high", "unfixed": true }), &["--severity", "CRITICAL", "--ignore-unfixed"])]
#[case(json!({ "unfixed": true, "id": ["CVE-1"] }), &["--ignore-unfixed"])]
fn trivy_is_told_what_to_ignore(#[case] ignore: Value, #[case] expected: &[&str]) {
    let trivy = Trivy::reporting(&[]);
    trivy.result(&json!({ "enabled": true, "ignore": ignore }), &[]);
    assert_eq!(trivy.arguments()[8..], *expected);
}

const MANY: [(&str, &str); 7] = [
    ("CVE-2", "MEDIUM"),
    ("SUSE-SU-2024:1-1", "LOW"),
    ("CVE-1", "HIGH"),
    ("CVE-3", "NEGLIGIBLE"),
    ("CVE-2", "CRITICAL"),
    ("CVE-4", "High"),
    ("CVE-1", "LOW"),
];

#[rstest]
#[case::worst_first(&[], &[], "CVE-2:c,CVE-1:h,CVE-4:h,SUSE-SU-2024:1-1:l,CVE-3:u")]
#[case::ignored(&["CVE-2", "CVE-4", "CVE"], &[], "CVE-1:h,SUSE-SU-2024:1-1:l,CVE-3:u")]
#[case::limited(&[], &["--vuln-count-limit", "2"], "CVE-2:c,CVE-1:h")]
#[case::limited_after_ignored(&["CVE-2"], &["--vuln-count-limit=2"], "CVE-1:h,CVE-4:h")]
#[case::no_limit(&[], &["--vuln-count-limit=0"], "CVE-2:c,CVE-1:h,CVE-4:h,SUSE-SU-2024:1-1:l,CVE-3:u")]
fn findings_are_told_once_and_the_worst_first(
    #[case] ignored: &[&str],
    #[case] flags: &[&str],
    #[case] expected: &str,
) {
    let trivy = Trivy::reporting(&MANY);
    let settings = json!({ "enabled": true, "ignore": { "id": ignored } });
    assert_eq!(trivy.result(&settings, flags), expected);
}

#[test]
fn fifty_are_told_where_nobody_says_how_many() {
    let ids: Vec<String> = (0..70).map(|number| format!("CVE-{number}")).collect();
    let found: Vec<_> = ids.iter().map(|id| (id.as_str(), "HIGH")).collect();
    let result = Trivy::reporting(&found).result(&enabled(), &[]);
    assert_eq!(result.split(',').count(), 50);
    assert!(result.ends_with("CVE-49:h"), "{result}");
}

#[rstest]
#[case::other_keys(
    r#"{"results":[{"vulnerabilities":[{"vulnerabilityID":"CVE-1","severity":"high","extra":[1]}]}]}"#,
    "CVE-1:h"
)]
#[case::no_severity(
    r#" {"Results":[{"Vulnerabilities":[{"VulnerabilityID":"CVE-1"}]}]}"#,
    "CVE-1:u"
)]
#[case::null_severity(
    r#"{"Results":[{"Vulnerabilities":[{"VulnerabilityID":"CVE-1","Severity":null}]}]}"#,
    "CVE-1:u"
)]
#[case::nothing(r#"{"SchemaVersion":2,"Results":null}"#, "")]
#[case::no_list(r#"{"SchemaVersion":2}"#, "")]
fn a_report_is_read_as_trivy_may_write_it(#[case] report: &str, #[case] expected: &str) {
    assert_eq!(Trivy::printing(report).result(&enabled(), &[]), expected);
}

#[rstest]
#[case::empty("", "is no JSON object")]
#[case::text("everything is fine", "is no JSON object")]
#[case::list("[]", "is no JSON object")]
#[case::cut(r#"{"Results":[{"#, "is not the JSON")]
#[case::other(r#"{"Results":[{"Vulnerabilities":[{"Severity":"HIGH"}]}]}"#, "missing field")]
#[case::comma(r#"{"Results":[{"Vulnerabilities":[{"VulnerabilityID":"A,B"}]}]}"#, "\"A,B\"")]
fn a_report_that_is_none_is_no_success(#[case] report: &str, #[case] expected: &str) {
    let dir = tempdir().unwrap();
    let layout = small(dir.path());
    let trivy = Trivy::printing(report);
    let arguments = ["--push", layout.to_str().unwrap(), "--image", NOWHERE];
    let log = trivy.process(&enabled(), &arguments).failed(1);
    assert!(log.contains(expected), "{log}");
    assert!(!trivy.file("result").exists());
}

#[test]
fn a_finding_keeps_the_image_from_being_pushed() {
    let dir = tempdir().unwrap();
    let layout = small(dir.path());
    let trivy = Trivy::reporting(&[("CVE-1", "UNKNOWN")]);
    let push = ["--push", layout.to_str().unwrap(), "--image", NOWHERE];
    let log = trivy.process(&failing(), &push).failed(22);
    assert!(log.contains("nothing was pushed"), "{log}");
    assert_eq!(trivy.read("result"), "CVE-1:u");

    let registry = Registry::plain();
    let image = registry.image("not/pushed:1");
    let push = ["--push", layout.to_str().unwrap(), "--image", &image, "--insecure"];
    trivy.process(&failing(), &push).failed(22);
    let mut settings = failing();
    settings["ignore"] = json!({ "id": ["CVE-1"] });
    trivy.process(&settings, &push).succeeded();
    // The one push is that of the run that may.
    registry.answered(1, "PUT", "/v2/not/pushed/manifests/1", 201);
}

#[test]
fn an_image_that_the_strategy_pushed_is_scanned_where_it_is() {
    let options = Options { password: true, tls: true, ..Options::default() };
    let registry = Registry::start(&options);
    let dir = tempdir().unwrap();
    let layout = small(&dir.path().join("output"));
    let image = registry.image("pushed:1");
    let secret = dir.path().join("secret");
    let host = format!("127.0.0.1:{}", registry.port);
    let auths = json!({ "auths": {
        host.as_str(): { "username": USER, "password": PASSWORD },
        "other.example.com": { "username": "other", "password": "of nobody's business" },
    } });
    fs::write(&secret, auths.to_string()).unwrap();
    let with_secret = ["--image", &image, "--insecure", "--secret-path", secret.to_str().unwrap()];
    let trivy = Trivy::reporting(&[("CVE-1", "HIGH")]);
    let push = [&with_secret[..], &["--push", layout.to_str().unwrap()]].concat();
    trivy.process(&json!({ "enabled": false }), &push).succeeded();
    assert!(!trivy.file("tries").exists() && !trivy.file("result").exists());

    let labelled = [&with_secret[..], &["--label", "a=b"]].concat();
    let log = trivy.process(&enabled(), &labelled).succeeded().log;
    assert_eq!(trivy.arguments()[6..], [&image, "--insecure"]);
    let config: Value = serde_json::from_str(&trivy.read("config")).unwrap();
    let auths = config["auths"].as_object().unwrap();
    assert_eq!(auths.keys().collect::<Vec<_>>(), [&host]);
    assert_eq!(trivy.read("modes"), "700\n600\n");
    let encoded = auths[&host]["auth"].as_str().unwrap();
    assert_eq!(decoded(encoded), format!("{USER}:{PASSWORD}"));
    for place in [trivy.read("cmdline"), trivy.read("environment"), log] {
        assert!(!place.contains(PASSWORD) && !place.contains(encoded), "{place}");
    }
    assert_eq!(trivy.read("result"), "CVE-1:h");
    let label = || {
        let (creds, image) = (format!("{USER}:{PASSWORD}"), format!("docker://{image}"));
        let arguments =
            ["inspect", "--creds", &creds, "--tls-verify=false", "--config", "--raw", &image];
        let config: Value = serde_json::from_slice(&run("skopeo", &arguments)).unwrap();
        config["config"]["Labels"]["a"].clone()
    };
    assert_eq!(label(), "b");

    // What may not be stays as it is.
    let relabelled = [&with_secret[..], &["--label", "a=c"]].concat();
    let log = trivy.process(&failing(), &relabelled).failed(22);
    assert!(log.contains("the strategy has pushed it already"), "{log}");
    assert_eq!(label(), "b");
}

fn decoded(text: &str) -> String {
    let dir = tempdir().unwrap();
    let file = dir.path().join("encoded");
    fs::write(&file, text).unwrap();
    String::from_utf8(run("base64", &["--decode", file.to_str().unwrap()])).unwrap()
}

#[test]
fn nobody_is_told_credentials_that_are_not_there() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let layout = small(dir.path());
    let image = registry.image("anonymous:1");
    let trivy = Trivy::reporting(&[]);
    let arguments = ["--image", &image, "--insecure"];
    let push = [&arguments[..], &["--push", layout.to_str().unwrap()]].concat();
    trivy.process(&json!({}), &push).succeeded();
    let before = skopeo_raw(&image);
    trivy.process(&enabled(), &arguments).succeeded();
    assert!(!trivy.read("environment").contains("DOCKER_CONFIG"));
    assert_eq!(skopeo_raw(&image), before);
}

#[test]
fn a_database_that_cannot_be_had_is_tried_again() {
    let unavailable = "FATAL\tinit error: DB error: failed to download vulnerability DB: 429\n";
    let trivy = Trivy::reporting(&[("CVE-1", "HIGH")]).failing(1, unavailable);
    let trivy = trivy.failing(2, unavailable);
    assert_eq!(trivy.result(&enabled(), &[]), "CVE-1:h");
    assert_eq!(trivy.read("tries"), "3\n");
}

#[test]
fn any_other_failure_of_trivy_fails_the_step_at_once() {
    let dir = tempdir().unwrap();
    let layout = small(dir.path());
    let trivy = Trivy::reporting(&[]).failing(1, "FATAL\tunable to open the archive\n");
    let arguments = ["--push", layout.to_str().unwrap(), "--image", NOWHERE];
    let log = trivy.process(&failing(), &arguments).failed(1);
    assert!(log.starts_with("FATAL\tunable to open the archive\n"), "{log}");
    assert!(log.contains("trivy could not scan the image (exit status: 1)"), "{log}");
    assert!(!trivy.file("result").exists());
}

#[test]
fn an_image_without_trivy_says_what_to_do() {
    let dir = tempdir().unwrap();
    let layout = small(dir.path());
    let trivy = Trivy::reporting(&[]);
    fs::remove_file(trivy.file("trivy")).unwrap();
    let mut command = step();
    command.env("PATH", trivy.dir.path()).args(["--image", NOWHERE, "--push"]).arg(&layout);
    let log = finish(command.args(["--vuln-settings", r#"{"enabled":true}"#])).failed(1);
    assert!(log.contains("no program \"trivy\""), "{log}");
    assert!(log.contains("IMAGE_PROCESSING_CONTAINER_IMAGE"), "{log}");
}
