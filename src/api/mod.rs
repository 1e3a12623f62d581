//! The kinds as users write them: Build, BuildRun, BuildStrategy and ClusterBuildStrategy in `shipwright.io`. The types are those of
//! `v1beta1`; objects in `v1alpha1` are converted.
//!
//! Invariant: decoding never refuses what the API server accepts; unknown fields are passed over and an explicit
//! `null` counts as absent.
//! Invariant: encoding prints only what was set.
//!
//! Words that the CRDs do not limit (source type, strategy kind, state and the like) stay text here: an unknown word
//! reaches the controller and has its own outcome there. Field comments are the CRDs' descriptions.

mod build;
mod build_run;
mod condition;
mod conversion;
pub mod crd;
mod duration;
mod image;
pub(crate) mod kind;
mod param;
pub mod reasons;
mod strategy;
pub(crate) mod structural;
pub mod v1alpha1;

pub use build::{
    Build, BuildSpec, BuildStatus, GitSource, LocalSource, OciArtifact, Retention, Source,
    StepResources, StrategyRef, Trigger, TriggerWhen, WhenGitHub, WhenImage, WhenObjectRef,
};
pub use build_run::{
    BuildRun, BuildRunRetention, BuildRunSource, BuildRunSpec, BuildRunStatus, Executor, FailedAt,
    FailureDetails, GitSourceStatus, OciArtifactStatus, OutputStatus, ReferencedBuild,
    SourceStatus, Vulnerability,
};
pub use condition::{Condition, FALSE, SUCCEEDED, TRUE, UNKNOWN};
pub use conversion::{
    AlphaNames, Conversion, ConversionError, Loss, MAX_ANNOTATIONS, PRESERVED_ANNOTATION, Version,
    alpha_field, convert, convert_telling,
};
pub use duration::{GoDuration, InvalidDuration, Nanoseconds};
pub use image::{Image, Platform, Severity, VulnerabilityIgnore, VulnerabilityScan};
pub use param::{ObjectKeyRef, ParamValue, Parameter, SingleValue};
pub use strategy::{
    BuildStrategy, ClusterBuildStrategy, Step, Strategy, StrategySecurityContext, StrategySpec,
    StrategyStatus, StrategyVolume,
};

/// A volume of a Build or BuildRun: a name and one of Kubernetes' volume sources beside it.
pub type BuildVolume = k8s_openapi::api::core::v1::Volume;

/// The group of all four kinds.
pub const GROUP: &str = "shipwright.io";
/// The version that is stored and that these types are.
pub const VERSION: &str = "v1beta1";
/// Group and version as `apiVersion` has them.
pub const API_VERSION: &str = "shipwright.io/v1beta1";

#[cfg(test)]
mod tests {
    use kube::Resource as _;
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn round_trip<K: DeserializeOwned + Serialize>(object: &Value) -> Value {
        let kind: K = serde_json::from_value(object.clone()).expect("decodes");
        serde_json::to_value(kind).expect("encodes")
    }

    #[test]
    fn a_round_trip_prints_exactly_what_was_set() {
        let build = json!({
            "apiVersion": "shipwright.io/v1beta1",
            "kind": "Build",
            "metadata": {"name": "app", "namespace": "team"},
            "spec": {
                "source": {"type": "Git", "contextDir": "src", "git": {"url": "https://example.com/r", "depth": 0}},
                "strategy": {"name": "s", "kind": "ClusterBuildStrategy", "stepResources": [
                    {"name": "build", "resources": {"limits": {"cpu": "250m"}}}]},
                "paramValues": [
                    {"name": "one", "value": ""},
                    {"name": "list", "values": []},
                    {"name": "secret", "secretValue": {"name": "n", "key": "k", "format": ""}}],
                "output": {"image": "r/app", "insecure": false, "vulnerabilityScan": {"ignore": {"severity": "low"}}},
                "retention": {"failedLimit": 3, "ttlAfterFailed": "1 week"},
                "timeout": "10m",
                "volumes": [{"name": "cache", "emptyDir": {}}],
            },
        });
        assert_eq!(round_trip::<Build>(&build), build);

        let strategy = json!({
            "apiVersion": "shipwright.io/v1beta1",
            "kind": "ClusterBuildStrategy",
            "metadata": {"name": "s"},
            "spec": {
                "parameters": [{"name": "p", "description": "", "type": "array", "defaults": []}],
                "securityContext": {"runAsGroup": 0, "runAsUser": 1000},
                "steps": [{"name": "a", "image": "i", "securityContext": {"runAsUser": 0}}],
                "volumes": [{"name": "v", "overridable": true, "description": "d", "secret": {"secretName": "x"}}],
            },
        });
        assert_eq!(round_trip::<ClusterBuildStrategy>(&strategy), strategy);

        let run = json!({
            "apiVersion": "shipwright.io/v1beta1",
            "kind": "BuildRun",
            "metadata": {"name": "r"},
            "spec": {"build": {"spec": {"strategy": {"name": "s"}, "output": {"image": "i"}}}},
            "status": {
                "conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "Pending", "message": "",
                    "lastTransitionTime": "2026-01-02T03:04:05Z"}],
                "startTime": "2026-01-02T03:04:05Z",
                "output": {},
            },
        });
        assert_eq!(round_trip::<BuildRun>(&run), run);
    }

    #[test]
    fn null_counts_as_absent_and_unknown_fields_are_passed_over() {
        let run = json!({
            "apiVersion": "shipwright.io/v1beta1",
            "kind": "BuildRun",
            "metadata": {"name": "r", "creationTimestamp": null},
            "spec": {
                "build": {"name": "b", "spec": null},
                "paramValues": [{"name": "p", "values": [{"value": "x", "secretValue": null}], "value": null}],
                "env": null,
                "future": {"deep": 1},
            },
            "status": null,
        });
        let run: BuildRun = serde_json::from_value(run).expect("decodes");
        assert_eq!(run.spec.build, ReferencedBuild { name: Some("b".into()), spec: None });
        let value = &run.spec.param_values[0];
        assert_eq!((&value.value, value.values.as_ref().map(Vec::len)), (&None, Some(1)));
        assert!(run.spec.env.is_empty());
        assert_eq!(run.status, None);
    }

    #[test]
    fn whole_numbers_may_be_written_with_a_point() {
        let build = json!({"spec": {"retention": {"failedLimit": 3.0}, "volumes": [
            {"name": "v", "emptyDir": {"sizeLimit": 1.0}}]}});
        let build: Build = serde_json::from_value(build).expect("decodes");
        assert_eq!(build.spec.retention.and_then(|retention| retention.failed_limit), Some(3));
        let volume = build.spec.volumes[0].empty_dir.as_ref().expect("a source");
        assert_eq!(volume.size_limit.as_ref().map(|limit| limit.0.as_str()), Some("1"));
        let exact = |number: Value| number.as_number().and_then(kind::integer);
        assert_eq!(exact(json!(9_007_199_254_740_991.0)), Some(9_007_199_254_740_991));
        assert_eq!(exact(json!(9_007_199_254_740_992.0)), None);
        assert_eq!(exact(json!(u64::MAX)), None);
        assert_eq!(exact(json!(-0.5)), None);
    }

    #[test]
    fn a_strategy_without_spec_has_no_steps() {
        let bare =
            json!({"apiVersion": API_VERSION, "kind": "BuildStrategy", "metadata": {"name": "s"}});
        let strategy: BuildStrategy = serde_json::from_value(bare.clone()).expect("decodes");
        assert!(strategy.spec.steps.is_empty());
        assert_eq!(serde_json::to_value(&strategy).expect("encodes"), bare);
    }

    #[test]
    fn kinds_know_their_place() {
        assert_eq!(API_VERSION, format!("{GROUP}/{VERSION}"));
        assert_eq!(
            BuildRun::url_path(&(), Some("team")),
            "/apis/shipwright.io/v1beta1/namespaces/team/buildruns"
        );
        assert_eq!(
            ClusterBuildStrategy::url_path(&(), None),
            "/apis/shipwright.io/v1beta1/clusterbuildstrategies"
        );
    }
}
