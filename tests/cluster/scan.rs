//! Scans of images in pods, by the stand-in for trivy in `hack/tools`, which refuses to be called otherwise than upstream calls trivy.
//!
//! The image of a test has one file, which says what is wrong with it.

use k8s_openapi::jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};
use slipway::plan::Verdict;

use super::documents::{Sample, output, push_secret, sample, tls_output};
use super::harness::{Ended, Namespace, container, documents};
use super::samples::Pushed;
use super::steps::{STEP, Wish, condition, details, expect_failed_at, judge};

/// Has the stand-in, and no file of Slipway's.
pub const SCANNER: &str = "slipway.test/trivy:1";
const IMAGE_STEP: &str = "step-image-processing";

/// Two that trivy rates alike, one of them twice, and one that nobody can mend.
pub fn vulnerabilities() -> Value {
    json!([
        { "VulnerabilityID": "CVE-2024-1", "Severity": "LOW", "PkgName": "libc", "FixedVersion": "2.0" },
        { "VulnerabilityID": "CVE-2024-2", "Severity": "CRITICAL", "PkgName": "ssl" },
        { "VulnerabilityID": "CVE-2024-3", "Severity": "MEDIUM", "PkgName": "z", "FixedVersion": "1.3" },
        { "VulnerabilityID": "CVE-2024-4", "Severity": "HIGH", "PkgName": "ssl", "FixedVersion": "3" },
        { "VulnerabilityID": "CVE-2024-2", "Severity": "CRITICAL", "PkgName": "ssl-dev" },
    ])
}

/// A build of an image in which trivy finds this; Shipwright pushes it.
pub fn pushed_by_shipwright(found: &Value, output: &Value) -> Sample {
    let mut sample = sample("hello").with(None, output);
    let script = &mut sample.strategy["spec"]["steps"][0]["args"][1];
    *script = script.as_str().unwrap().replace("greeting.txt", "vulnerabilities.json").into();
    sample.build["spec"]["paramValues"] =
        json!([{ "name": "greeting", "value": found.to_string() }]);
    sample
}

/// The same, which the strategy pushes with the credentials in its home.
fn pushed_by_the_strategy(found: &Value, output: &Value) -> Sample {
    let mut sample = pushed_by_shipwright(found, output);
    let steps = sample.strategy["spec"]["steps"].as_array_mut().unwrap();
    let arguments = steps[0]["args"].as_array_mut().unwrap();
    let directory = arguments.iter_mut().find(|word| *word == "$(params.shp-output-directory)");
    *directory.unwrap() = "/files/layout".into();
    let mut push = steps[0].clone();
    push["name"] = "push".into();
    push["image"] = STEP.into();
    push["command"] = json!(["slipway-step", "image-processing"]);
    push["args"] = json!([
        "--push=/files/layout",
        "--image=$(params.shp-output-image)",
        "--insecure=$(params.shp-output-insecure)",
        "--result-file-image-digest=$(results.shp-image-digest.path)",
    ]);
    if output["pushSecret"].is_string() {
        let credentials = "--secret-path=/tekton/home/.docker/config.json";
        push["args"].as_array_mut().unwrap().push(credentials.into());
        push["env"] = json!([{ "name": "HOME", "value": "/tekton/home" }]);
    }
    steps.push(push);
    sample
}

fn with_scan(mut output: Value, scan: Value) -> Value {
    output["vulnerabilityScan"] = scan;
    output
}

/// The pod of the documents in an image that has the scanner, and what a controller makes of its end.
fn run<'a>(namespace: &'a Namespace, documents: &str) -> (Ended<'a>, Verdict) {
    let mut pod = namespace.render(documents);
    container(&mut pod, IMAGE_STEP).image = Some(SCANNER.into());
    let ended = namespace.run_pod(&pod);
    let verdict = judge(&ended.pod, Wish::Build, Timestamp::now());
    (ended, verdict)
}

/// Identifiers and severities in the status.
fn told(verdict: &Verdict) -> Vec<String> {
    let output = verdict.status.output.as_ref().expect("the status has an output");
    let told = output.vulnerabilities.iter();
    told.map(|found| format!("{} {}", found.id, found.severity)).collect()
}

fn assert_vulnerable(verdict: &Verdict, ended: &Ended, namespace: &Namespace) {
    let pod = ended.pod.metadata.name.as_deref().unwrap();
    let message = format!(
        "Vulnerabilities have been found in the image which can be seen in the buildrun status. For detailed information,see kubectl --namespace {} logs {pod} --container={IMAGE_STEP}",
        namespace.name()
    );
    assert_eq!(condition(verdict), ("False", "VulnerabilitiesFound", &*message));
    let location = details(verdict).location.as_ref().unwrap();
    assert_eq!(location.container.as_deref(), Some(IMAGE_STEP));
    assert_eq!(ended.exit_code(IMAGE_STEP), 22);
}

#[rstest]
#[case::nothing("nothing", json!([]), json!({}), &[])]
#[case::all("all", vulnerabilities(), json!({}), &["CVE-2024-2 critical", "CVE-2024-4 high", "CVE-2024-3 medium", "CVE-2024-1 low"])]
#[case::ignored_ids("ids", vulnerabilities(), json!({ "id": ["CVE-2024-4", "CVE-2024-1"] }), &["CVE-2024-2 critical", "CVE-2024-3 medium"])]
#[case::ignored_severity("severity", vulnerabilities(), json!({ "severity": "medium" }), &["CVE-2024-2 critical", "CVE-2024-4 high"])]
#[case::ignored_unfixed("unfixed", vulnerabilities(), json!({ "unfixed": true, "severity": "low" }), &["CVE-2024-4 high", "CVE-2024-3 medium"])]
fn what_is_found_is_told_and_the_image_pushed(
    #[case] test: &str,
    #[case] found: Value,
    #[case] ignore: Value,
    #[case] expected: &[&str],
) {
    let namespace = Namespace::restricted(&format!("scan-{test}"));
    let scan = json!({ "enabled": true, "ignore": ignore });
    let sample = pushed_by_shipwright(&found, &with_scan(output(&namespace), scan));
    let (ended, verdict) = run(&namespace, &sample.text());
    let ended = ended.expect_success();
    assert_eq!(condition(&verdict).1, "Succeeded");
    assert_eq!(told(&verdict), expected);
    let digest = verdict.status.output.as_ref().unwrap().digest.clone();
    assert_eq!(digest, Some(Pushed::of(&namespace).digest()));
    assert_eq!(ended.user(IMAGE_STEP), (1001, 1000));
}

#[test]
fn an_image_that_must_not_have_them_is_not_pushed() {
    let namespace = Namespace::new("scan-fails");
    let scan = json!({ "enabled": true, "failOnFinding": true });
    let sample = pushed_by_shipwright(&vulnerabilities(), &with_scan(output(&namespace), scan));
    let (ended, verdict) = run(&namespace, &sample.text());
    assert_vulnerable(&verdict, &ended, &namespace);
    assert_eq!(told(&verdict).len(), 4);
    assert_eq!(verdict.status.output.as_ref().unwrap().digest, None);
    let log = ended.log(IMAGE_STEP);
    assert!(log.contains("vulnerability CVE-2024-4, high in ssl, fixed in 3"), "{log}");
    Pushed::of(&namespace).assert_missing();
}

/// In a registry that tells nobody anything without a password.
#[rstest]
#[case::only_told("told", false)]
#[case::refused("refused", true)]
fn an_image_that_the_strategy_pushed_is_scanned_in_the_registry(
    #[case] test: &str,
    #[case] fails: bool,
) {
    let namespace = Namespace::new(&format!("scan-pushed-{test}"));
    let scan = json!({ "enabled": true, "failOnFinding": fails });
    let mut output = with_scan(tls_output(&namespace), scan);
    output["labels"] = json!({ "scanned": "yes" });
    let sample = pushed_by_the_strategy(&vulnerabilities(), &output);
    let push = push_secret("SLIPWAY_REGISTRY_AUTH");
    let (ended, verdict) = run(&namespace, &documents([&push, &sample.text()]));
    assert_eq!(ended.exit_code("step-push"), 0, "{}", ended.log("step-push"));
    let log = ended.log(IMAGE_STEP);
    let pushed = Pushed::of_tls(&namespace);
    let before = ended.results("step-push")["shp-image-digest"].clone();
    let digest = verdict.status.output.as_ref().unwrap().digest.clone();
    if fails {
        assert_vulnerable(&verdict, &ended, &namespace);
        // It is what the strategy made of it.
        assert_eq!((digest, pushed.digest()), (Some(before.clone()), before));
    } else {
        assert_eq!(condition(&verdict).1, "Succeeded", "{log}");
        assert_eq!(digest, Some(pushed.digest()));
        assert_ne!(digest, Some(before));
        assert_eq!(pushed.inspect(&[])["Labels"]["scanned"], "yes");
    }
    assert_eq!(told(&verdict).len(), 4, "{log}");
}

#[test]
fn a_scan_that_fails_is_no_scan_without_findings() {
    let namespace = Namespace::new("scan-broken");
    let found = json!({ "fails": "analyze error: nobody knows this system" });
    let scan = json!({ "enabled": true });
    let sample = pushed_by_shipwright(&found, &with_scan(output(&namespace), scan));
    let (ended, _) = run(&namespace, &sample.text());
    expect_failed_at(&ended.pod, IMAGE_STEP);
    let log = ended.log(IMAGE_STEP);
    assert!(log.contains("nobody knows this system") && log.contains("exit status: 1"), "{log}");
    Pushed::of(&namespace).assert_missing();
}

#[test]
fn an_image_without_trivy_says_so() {
    let namespace = Namespace::new("scan-without-trivy");
    let scan = json!({ "enabled": true });
    let sample = pushed_by_shipwright(&json!([]), &with_scan(output(&namespace), scan));
    let ended = namespace.run(&sample.text());
    expect_failed_at(&ended.pod, IMAGE_STEP);
    let log = ended.log(IMAGE_STEP);
    assert!(log.contains("IMAGE_PROCESSING_CONTAINER_IMAGE"), "{log}");
    Pushed::of(&namespace).assert_missing();
}

/// Fifty are too many for a step's report where their names are long: the least bad ones are left out, never half a name.
#[test]
fn what_does_not_fit_is_left_out_from_the_least_severe_end() {
    let namespace = Namespace::new("scan-many");
    let severities = ["LOW", "CRITICAL"];
    let found: Vec<Value> = (0..70)
        .map(|number| {
            let id = format!("{}-{number:03}", "LONG".repeat(20));
            json!({ "VulnerabilityID": id, "Severity": severities[number % 2] })
        })
        .collect();
    let scan = json!({ "enabled": true });
    let sample = pushed_by_shipwright(&json!(found), &with_scan(output(&namespace), scan));
    let (ended, verdict) = run(&namespace, &sample.text());
    let ended = ended.expect_success();
    let log = ended.log(IMAGE_STEP);
    assert!(log.contains("trivy found 70 vulnerabilities"), "{log}");
    assert!(log.contains("20 more that are no worse are not told"), "{log}");
    assert!(log.contains("result shp-image-vulnerabilities shortened to "), "{log}");
    let told = told(&verdict);
    assert!((10..35).contains(&told.len()), "{told:?}");
    assert!(told.iter().all(|found| found.ends_with(" critical")), "{told:?}");
    assert_eq!(
        verdict.status.output.as_ref().unwrap().digest,
        Some(Pushed::of(&namespace).digest())
    );
}
