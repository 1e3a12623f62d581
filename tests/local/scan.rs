//! A scan on this machine, with the stand-in for trivy in `hack/tools`: as on a cluster, where the image of the step has the scanner.

use std::process::Command;

use serde_json::{Value, json};

use super::harness::{Documents, User, output, sample, variable};

/// Has the stand-in, and no file of Slipway's.
const SCANNER: [&str; 2] = ["--image-processing-container-image", "slipway.test/trivy:1"];

/// A build of an image in which trivy finds two vulnerabilities.
fn vulnerable(test: &str, scan: &Value) -> Documents {
    let mut output = output(test);
    output["vulnerabilityScan"] = scan.clone();
    let mut documents = sample("hello", &output);
    let script = &mut documents.strategy["spec"]["steps"][0]["args"][1];
    *script = script.as_str().unwrap().replace("greeting.txt", "vulnerabilities.json").into();
    let found = json!([
        { "VulnerabilityID": "CVE-2024-1", "Severity": "LOW" },
        { "VulnerabilityID": "CVE-2024-2", "Severity": "CRITICAL" },
    ]);
    documents.build["spec"]["paramValues"] =
        json!([{ "name": "greeting", "value": found.to_string() }]);
    documents
}

#[test]
fn findings_are_in_the_log_and_in_the_table() {
    let user = User::root();
    let documents = vulnerable("scanned", &json!({ "enabled": true })).text();
    let ran = user.run(&documents, &SCANNER).expect(0);
    let ran = ran.says("vulnerability CVE-2024-2, critical");
    let ran = ran.says("vulnerabilities: 1 critical, 1 low");
    assert!(ran.stdout.contains("local/scanned@sha256:"), "{}", ran.stdout);

    // An image that goes into the engine is scanned all the same.
    let load = [&SCANNER[..], &["--load"]].concat();
    user.run(&documents, &load).expect(0).says("vulnerabilities: 1 critical, 1 low");
    user.expect_nothing_left();
}

#[test]
fn an_image_that_must_not_have_them_is_not_pushed() {
    let user = User::root();
    let scan = json!({ "enabled": true, "failOnFinding": true });
    let documents = vulnerable("vulnerable", &scan).text();
    let ran = user.run(&documents, &[&SCANNER[..], &["-o", "json"]].concat()).expect(1);
    let ended: Value = serde_json::from_str(&ran.stdout).unwrap();
    let status = &ended["buildrun"]["status"];
    assert_eq!(status["conditions"][0]["reason"], "VulnerabilitiesFound");
    let found = json!([
        { "id": "CVE-2024-2", "severity": "critical" }, { "id": "CVE-2024-1", "severity": "low" },
    ]);
    assert_eq!(status["output"], json!({ "vulnerabilities": found }));
    let image = format!("{}/local/vulnerable:1", variable("SLIPWAY_LOCAL_REGISTRY_ADDRESS"));
    let mut inspect = Command::new("skopeo");
    inspect.args(["inspect", "--tls-verify=false"]).arg(format!("docker://{image}"));
    let error = String::from_utf8(inspect.output().unwrap().stderr).unwrap();
    assert!(error.contains("manifest unknown") || error.contains("name unknown"), "{error}");
}

#[test]
fn an_image_without_trivy_says_what_to_do() {
    let user = User::root();
    let documents = vulnerable("unscanned", &json!({ "enabled": true })).text();
    user.run(&documents, &[]).expect(1).says("IMAGE_PROCESSING_CONTAINER_IMAGE");
    user.expect_nothing_left();
}
