//! Local directories that the client pushes as an image, which the run pulls.

use serde_json::json;

use super::super::super::documents::{build, output, push_secret};
use super::super::super::harness::{Namespace, variable};
use super::super::super::steps::shell;
use super::super::Controller;
use super::super::person::Person;
use super::client::{command, start};
use super::upload::{Files, LOOK};
use super::{strategy, wait_until_registered};

/// The run is there before the image that it pulls, as with the stock client.
#[test]
fn files_are_uploaded_as_a_bundle() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("shp-bundle");
    let dev = Person::bound(&namespace, "dev", "edit");
    let files = Files::new(&namespace);
    files.write("ignored", "");
    files.write(".shpignore", "ignored\n");
    // Both this machine and pods reach the registry by its address.
    let image = format!("{}/{}:source", variable("SLIPWAY_REGISTRY_TLS_ADDRESS"), namespace.name());
    let source = json!({ "type": "OCI", "ociArtifact": { "image": image, "pullSecret": "push" } });
    dev.kubectl(&["create", "--filename=-"], &push_secret("SLIPWAY_REGISTRY_AUTH"));
    dev.kubectl(&["create", "--filename=-"], &strategy("look", &[shell("look", LOOK)]));
    dev.kubectl(&["create", "--filename=-"], &build("look", &source, &output(&namespace)));
    wait_until_registered(&dev, "app");

    let credentials = std::env::temp_dir().join(namespace.name());
    std::fs::create_dir_all(&credentials).unwrap();
    std::fs::copy(variable("SLIPWAY_REGISTRY_AUTH"), credentials.join("config.json")).unwrap();
    let mut upload = command(&dev, &["build", "upload", "app", files.path(), "--follow"]);
    upload.env("SSL_CERT_FILE", variable("SLIPWAY_CA")).env("DOCKER_CONFIG", &credentials);
    let said = start(upload).end();
    std::fs::remove_dir_all(&credentials).unwrap();
    assert_eq!(said.code, Some(0), "{said:#?}");

    let log = dev
        .kubectl(&["logs", "--selector=build.shipwright.io/name=app", "--container=step-look"], "");
    let mut seen: Vec<_> = log.lines().filter_map(|line| line.strip_prefix("file ")).collect();
    seen.sort_unstable();
    let expected = [
        "1234:5678 29 ./link",
        "1234:5678 29 ./main.c",
        "1234:5678 3200000 ./large",
        "1234:5678 5 ./with space/deep/er.txt",
        "1234:5678 6 ./.gitignore",
        "1234:5678 8 ./.shpignore",
    ];
    assert_eq!(seen, expected, "{log}");
    let path = "--output=jsonpath={.items[*].status.source.timestamp}";
    assert_eq!(dev.kubectl(&["get", "buildruns", path], ""), "1970-01-01T00:00:00Z");
}
