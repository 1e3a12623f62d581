//! An index that a strategy leaves for Shipwright to push: every image of it gets labels, annotations and time, from Build and run together.

use rstest::rstest;
use serde_json::{Value, json};

use super::documents::{Sample, push_secret, sample, tls_output};
use super::harness::{Namespace, documents};
use super::samples::Pushed;

const OCI: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
];
const DOCKER: [&str; 4] = [
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];

/// Two images of one layer each, which differ, and the index over them as the only entry of the layout.
const TWO_PLATFORMS: &str = r#"
set -eu
layout=$1 index=$2 image=$3 config=$4 layer=$5
mkdir -p "$layout/blobs/sha256"
store() {
  digest=$(sha256sum "$1" | cut -d ' ' -f 1)
  size=$(wc -c <"$1")
  mv "$1" "$layout/blobs/sha256/$digest"
  printf '{"mediaType":"%s","digest":"sha256:%s","size":%d%s}' "$2" "$digest" "$size" "${3:-}"
}
entries=
for architecture in amd64 arm64; do
  echo "$architecture" >file
  tar -cf layer.tar file
  diff_id=$(sha256sum layer.tar | cut -d ' ' -f 1)
  gzip layer.tar
  layers=$(store layer.tar.gz "$layer")
  printf '{"architecture":"%s","os":"linux","config":{"Labels":{"own":"kept"}},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$architecture" "$diff_id" >config.json
  configs=$(store config.json "$config")
  printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s]}' "$image" "$configs" "$layers" >manifest.json
  platform=$(printf ',"platform":{"os":"linux","architecture":"%s"}' "$architecture")
  entries=$entries${entries:+,}$(store manifest.json "$image" "$platform")
done
printf '{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}' "$index" "$entries" >list.json
printf '{"schemaVersion":2,"manifests":[%s]}' "$(store list.json "$index")" >"$layout/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
"#;

fn two_platforms(types: [&str; 4], output: &Value) -> Sample {
    let mut sample = sample("hello").with(None, output);
    let arguments = [&["-c", TWO_PLATFORMS, "pack", "$(params.shp-output-directory)"], &types[..]];
    sample.strategy["spec"]["steps"][0]["args"] = arguments.concat().into();
    sample.strategy["spec"]["parameters"] = json!([]);
    sample
}

/// Build and run each say something; only the run names the Secret with the password.
#[rstest]
#[case::of_oci("oci", OCI)]
#[case::of_docker("docker", DOCKER)]
fn an_index_is_changed_and_pushed_image_by_image(#[case] test: &str, #[case] types: [&str; 4]) {
    let namespace = Namespace::new(&format!("index-{test}"));
    let of_run = tls_output(&namespace);
    let mut of_build = json!({ "image": of_run["image"], "timestamp": "Zero" });
    of_build["labels"] = json!({ "build": "b", "both": "b" });
    of_build["annotations"] = json!({ "org.example.build": "b", "org.example.both": "b" });
    let mut sample = two_platforms(types, &of_build);
    sample.run["spec"]["output"] = of_run;
    sample.run["spec"]["output"]["labels"] = json!({ "run": "r", "both": "r" });
    sample.run["spec"]["output"]["annotations"] =
        json!({ "org.example.run": "r", "org.example.both": "r" });
    let push = push_secret("SLIPWAY_REGISTRY_AUTH");
    let run = namespace.run(&documents([&push, &sample.text()])).expect_success();

    let pushed = Pushed::of_tls(&namespace);
    let index = pushed.inspect(&["--raw"]);
    let annotations =
        json!({ "org.example.build": "b", "org.example.run": "r", "org.example.both": "r" });
    assert_eq!((&index["mediaType"], &index["annotations"]), (&json!(types[0]), &annotations));
    let results = run.results("step-image-processing");
    // An index has no size of its own.
    assert_eq!(results.keys().collect::<Vec<_>>(), ["shp-image-digest"]);
    assert_eq!(results["shp-image-digest"], pushed.raw_digest());
    let entries = index["manifests"].as_array().unwrap();
    let platforms: Vec<_> = entries.iter().map(|entry| &entry["platform"]).collect();
    let expected = ["amd64", "arm64"]
        .map(|architecture| json!({ "os": "linux", "architecture": architecture }));
    assert_eq!(platforms, expected.iter().collect::<Vec<_>>());
    for entry in entries {
        let image = pushed.with_digest(entry["digest"].as_str().unwrap());
        let manifest = image.inspect(&["--raw"]);
        assert_eq!(
            (&manifest["mediaType"], &manifest["annotations"]),
            (&json!(types[1]), &annotations)
        );
        let config = image.inspect(&["--config", "--raw"]);
        let labels = json!({ "own": "kept", "build": "b", "run": "r", "both": "r" });
        assert_eq!(config["config"]["Labels"], labels);
        assert_eq!(config["architecture"], entry["platform"]["architecture"]);
        assert_eq!(config["created"], "1970-01-01T00:00:00Z");
        // Every blob is there, and is what its name says.
        assert_eq!(image.pull("file"), format!("{}\n", config["architecture"].as_str().unwrap()));
    }
}
