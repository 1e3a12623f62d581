//! Every reason of the contract has a golden case.
//!
//! Invariant: a reason is in the contract's list or nowhere, and shown by a case or said to be none of ours.

use std::collections::BTreeSet;
use std::path::Path;

use super::{read, verdicts};

/// What upstream's Builds and BuildRuns may say.
const CONTRACT: [&str; 87] = [
    "Succeeded",
    "SetOwnerReferenceFailed",
    "RemoteRepositoryUnreachable",
    "SpecSourceSecretRefNotFound",
    "SpecOutputSecretRefNotFound",
    "MultipleSecretRefNotFound",
    "BuildStrategyNotFound",
    "ClusterBuildStrategyNotFound",
    "UnknownBuildStrategyKind",
    "UndefinedVolume",
    "VolumeNotOverridable",
    "UndefinedStepResource",
    "OutputTimestampNotSupported",
    "OutputTimestampNotValid",
    "InvalidPlatform",
    "NodeSelectorPlatformConflict",
    "BuildNameInvalid",
    "SpecEnvNameCanNotBeBlank",
    "SpecEnvNameForbidden",
    "SpecEnvOnlyOneOfValueOrValueFromMustBeSpecified",
    "TriggerNameCanNotBeBlank",
    "TriggerInvalidType",
    "TriggerInvalidGitHubWebHook",
    "TriggerInvalidImage",
    "TriggerInvalidPipeline",
    "NodeSelectorNotValid",
    "TolerationNotValid",
    "SchedulerNameNotValid",
    "RuntimeClassNameNotValid",
    "RestrictedParametersInUse",
    "UndefinedParameter",
    "WrongParameterValueType",
    "MissingParameterValues",
    "InconsistentParameterValues",
    "EmptyArrayItemParameterValues",
    "IncompleteConfigMapValueParameterValues",
    "IncompleteSecretValueParameterValues",
    "BuildRunNameInvalid",
    "BuildRunNoRefOrSpec",
    "BuildRunAmbiguousBuild",
    "BuildRunBuildFieldOverrideForbidden",
    "BuildNotFound",
    "BuildRegistrationFailed",
    "ServiceAccountNotFound",
    "UnknownStrategyKind",
    "ExecutorNotPipelineRun",
    "NodePlatformNotFound",
    "TaskRunGenerationFailed",
    "VolumeDoesNotExist",
    "Started",
    "Pending",
    "Running",
    "ExceededNodeResources",
    "ExceededResourceQuota",
    "PullImageFailed",
    "BuildRunCanceled",
    "BuildRunTimeout",
    "Failed",
    "PodEvicted",
    "StepOutOfMemory",
    "VulnerabilitiesFound",
    "PodAdmissionFailed",
    "PodCreationFailed",
    "TaskRunValidationFailed",
    "TaskRunImagePullFailed",
    "TaskRunCancelled",
    "TaskRunIsMissing",
    "CreateContainerConfigError",
    "SidecarOOM",
    "SidecarFailed",
    "InitContainerOOM",
    "InitContainerFailed",
    "GitError",
    "GitAuthInvalidUserOrPass",
    "GitRemoteRepositoryPrivate",
    "GitAuthInvalidKey",
    "GitRemoteRepositoryNotFound",
    "GitRevisionNotFound",
    "GitBasicAuthIncomplete",
    "GitSSHAuthUnexpected",
    "GitSSHAuthExpected",
    "AuthUnexpectedHTTP",
    "SpecBuilderSecretRefNotFound",
    "RuntimePathsCanNotBeEmpty",
    "PipelineRunGenerationFailed",
    "PipelineRunFailed",
    "Cancelled",
];

/// What of it nobody is told here, and why.
const NEVER: [(&str, &str); 12] = [
    (
        "NodePlatformNotFound",
        "only runs of the executor PipelineRun look for nodes; before that ExecutorNotPipelineRun is told",
    ),
    ("Started", "a run whose Pod has been asked for says nothing, and then Pending or Running"),
    ("TaskRunValidationFailed", "TaskRunGenerationFailed, before there is a Pod"),
    ("TaskRunCancelled", "there is no TaskRun that somebody could cancel"),
    ("TaskRunIsMissing", "there is no TaskRun that somebody could delete; a deleted Pod is Failed"),
    ("SidecarOOM", "what others put into the Pod decides nothing"),
    ("SidecarFailed", "what others put into the Pod decides nothing"),
    ("SpecBuilderSecretRefNotFound", "upstream never tells it"),
    ("RuntimePathsCanNotBeEmpty", "upstream never tells it"),
    ("PipelineRunGenerationFailed", "there is no PipelineRun"),
    ("PipelineRunFailed", "there is no PipelineRun"),
    ("Cancelled", "there is no PipelineRun"),
];

#[test]
fn every_reason_of_the_contract_has_a_golden_case() {
    let shown = shown();
    let never: BTreeSet<_> = NEVER.iter().map(|(reason, _)| *reason).collect();
    let missing: Vec<_> = CONTRACT
        .iter()
        .filter(|reason| !shown.contains(**reason) && !never.contains(*reason))
        .collect();
    assert!(missing.is_empty(), "without a golden case: {missing:?}");
    let both: Vec<_> = never.iter().filter(|reason| shown.contains(**reason)).collect();
    assert!(both.is_empty(), "shown by a case: {both:?}");
    let unknown: Vec<_> = never.iter().filter(|reason| !CONTRACT.contains(reason)).collect();
    assert!(unknown.is_empty(), "not in the contract: {unknown:?}");
}

#[test]
fn every_reason_of_ours_is_one_of_the_contract() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/reasons.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let ours: Vec<_> = source.split('"').skip(1).step_by(2).collect();
    assert!(ours.len() > 50, "{ours:?}");
    let unknown: Vec<_> = ours.iter().filter(|reason| !CONTRACT.contains(reason)).collect();
    assert!(unknown.is_empty(), "not in the contract: {unknown:?}");
}

fn shown() -> BTreeSet<String> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cases");
    let refused = std::fs::read_dir(cases).unwrap().flat_map(|case| {
        let lines = read(&case.unwrap().path()).0.refused;
        // OBJECT: FIELD: REASON: MESSAGE
        lines.into_iter().filter_map(|line| line.split(": ").nth(2).map(String::from))
    });
    refused.chain(verdicts::reasons()).collect()
}
