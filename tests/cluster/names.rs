//! Servers are found by their names, also by a program without a C library in an image without a file.

use k8s_openapi::api::core::v1::Pod;
use rstest::rstest;
use serde_json::{Value, json};

use super::documents::{build, git_source, https_url, output, push_secret, sample, tls_output};
use super::harness::{Namespace, container, documents, variable};

const EMPTY: &str = "slipway.test/empty:1";
const IMAGE_PROCESSING: &str = "step-image-processing";

/// A run that clones over https, packs with a shell, and pushes from an image in which there is nothing at all.
fn pushing_from_an_empty_image(namespace: &Namespace, output: &Value) -> Pod {
    let strategy = sample("hello").strategy.to_string();
    let build = build("hello", &git_source(&https_url("app"), None, false), output);
    let mut pod = namespace.render(&documents([&strategy, &build]));
    container(&mut pod, IMAGE_PROCESSING).image = Some(EMPTY.into());
    assert!(!serde_json::to_string(&pod).unwrap().contains(&variable("SLIPWAY_BRIDGE_ADDRESS")));
    pod
}

/// Lets image-processing trust the test servers, by a ConfigMap.
fn trust(namespace: &Namespace, pod: &mut Pod) {
    let authority = format!("--from-file=ca.crt={}", variable("SLIPWAY_CA"));
    namespace.kubectl(&["create", "configmap", "trust", &authority]);
    let volume = json!({ "name": "trust", "configMap": { "name": "trust" } });
    pod.spec
        .as_mut()
        .unwrap()
        .volumes
        .as_mut()
        .unwrap()
        .push(serde_json::from_value(volume).unwrap());
    let container = container(pod, IMAGE_PROCESSING);
    let mount = json!({ "name": "trust", "mountPath": "/trust" });
    container.volume_mounts.as_mut().unwrap().push(serde_json::from_value(mount).unwrap());
    let variable = json!({ "name": "SSL_CERT_FILE", "value": "/trust/ca.crt" });
    container.env.as_mut().unwrap().push(serde_json::from_value(variable).unwrap());
}

#[rstest]
#[case::http("http", "SLIPWAY_REGISTRY", "registry.log", output)]
#[case::tls("tls", "SLIPWAY_REGISTRY_TLS", "registry-tls.log", tls_output)]
fn an_empty_image_finds_the_registry(
    #[case] name: &str,
    #[case] registry: &str,
    #[case] log: &str,
    #[case] output: fn(&Namespace) -> Value,
) {
    let namespace = Namespace::new(&format!("names-{name}"));
    namespace.apply(&push_secret("SLIPWAY_REGISTRY_AUTH"));
    let mut pod = pushing_from_an_empty_image(&namespace, &output(&namespace));
    if name == "tls" {
        trust(&namespace, &mut pod);
    }
    let run = namespace.run_pod(&pod).expect_success();
    assert!(run.results(IMAGE_PROCESSING)["shp-image-digest"].starts_with("sha256:"));

    // What the registry heard from the pod.
    let path = format!("{}/{log}", variable("SLIPWAY_SERVICES_LOGS"));
    let log = std::fs::read_to_string(&path).unwrap().replace('"', "");
    let uri = format!(" http.request.uri=/v2/{}/", namespace.name());
    let requests: Vec<_> = log.lines().filter(|line| line.contains(&uri)).collect();
    let pushed = |line: &&str| line.contains("method=PUT") && line.contains("/manifests/1 ");
    assert!(requests.iter().any(pushed), "{requests:?}");
    let host = format!(" http.request.host={} ", variable(registry));
    let of_others: Vec<_> = requests.iter().filter(|line| !line.contains(&host)).collect();
    assert!(of_others.is_empty(), "{of_others:?}");
}

#[test]
fn an_empty_image_trusts_nobody_by_itself() {
    let namespace = Namespace::new("names-no-trust");
    namespace.apply(&push_secret("SLIPWAY_REGISTRY_AUTH"));
    let run = namespace.run_pod(&pushing_from_an_empty_image(&namespace, &tls_output(&namespace)));
    assert_eq!(run.exit_code(IMAGE_PROCESSING), 1);
    let log = run.log(IMAGE_PROCESSING);
    assert!(log.contains("needs a CA bundle"), "{log}");
}

#[test]
fn a_registry_without_an_address() {
    let namespace = Namespace::new("names-none");
    let output = json!({ "image": "registry.nowhere.test:5000/app:1", "insecure": true });
    let run = namespace.run_pod(&pushing_from_an_empty_image(&namespace, &output));
    assert_eq!(run.exit_code("step-source-default"), 0);
    assert_eq!(run.exit_code(IMAGE_PROCESSING), 1);
    let log = run.log(IMAGE_PROCESSING);
    let image = "registry.nowhere.test:5000/app:1";
    assert!(log.contains(image) && log.contains("dns error"), "{log}");
}
