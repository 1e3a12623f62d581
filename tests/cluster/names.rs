//! Servers are found by their names, also by a program without a C library in an image without a file.

use serde_json::Value;

use super::documents::{build, git_source, https_url, output, sample};
use super::harness::{Ended, Namespace, container, documents, variable};

const EMPTY: &str = "slipway.test/empty:1";
const IMAGE_PROCESSING: &str = "step-image-processing";

/// Clones over https, packs with a shell, and pushes from an image in which there is nothing at all.
fn push_from_an_empty_image<'a>(namespace: &'a Namespace, output: &Value) -> Ended<'a> {
    let strategy = sample("hello").strategy.to_string();
    let build = build("hello", &git_source(&https_url("app"), None, false), output);
    let mut pod = namespace.render(&documents([&strategy, &build]));
    container(&mut pod, IMAGE_PROCESSING).image = Some(EMPTY.into());
    assert!(!serde_json::to_string(&pod).unwrap().contains(&variable("SLIPWAY_BRIDGE_ADDRESS")));
    namespace.run_pod(&pod)
}

#[test]
fn an_empty_image_finds_the_registry() {
    let namespace = Namespace::new("names");
    let run = push_from_an_empty_image(&namespace, &output(&namespace)).expect_success();
    let digest = &run.results(IMAGE_PROCESSING)["shp-image-digest"];

    // What the registry heard from the pod.
    let path = format!("{}/registry.log", variable("SLIPWAY_SERVICES_LOGS"));
    let log = std::fs::read_to_string(&path).unwrap();
    let uri = format!("http.request.uri=/v2/{}/manifests/", namespace.name());
    let requests: Vec<_> =
        log.lines().filter(|line| line.replace('"', "").contains(&uri)).collect();
    assert!(
        requests.iter().any(|line| line.contains(digest.trim_start_matches("sha256:"))),
        "{requests:?}"
    );
    let host = format!("http.request.host=\"{}\"", variable("SLIPWAY_REGISTRY"));
    let of_others: Vec<_> = requests.iter().filter(|line| !line.contains(&host)).collect();
    assert!(of_others.is_empty(), "{of_others:?}");
}

#[test]
fn a_registry_that_has_no_address() {
    let namespace = Namespace::new("no-name");
    let output =
        serde_json::json!({ "image": "registry.nowhere.test:5000/app:1", "insecure": true });
    let run = push_from_an_empty_image(&namespace, &output);
    assert_eq!(run.exit_code("step-source-default"), 0);
    assert_eq!(run.exit_code(IMAGE_PROCESSING), 1);
    println!("{}", run.log(IMAGE_PROCESSING));
}
