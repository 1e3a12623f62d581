//! Reasons: the words that Builds and BuildRuns give for where they stand, upstream's letter for letter.
//!
//! Clients and scripts compare these words, so none may change. The names of objects that only exist upstream
//! (`TaskRunGenerationFailed`) stay for that.

// Everything is in order.
pub const SUCCEEDED: &str = "Succeeded";

// A Build that cannot be registered.
pub const SET_OWNER_REFERENCE_FAILED: &str = "SetOwnerReferenceFailed";
pub const REMOTE_REPOSITORY_UNREACHABLE: &str = "RemoteRepositoryUnreachable";
pub const SPEC_SOURCE_SECRET_REF_NOT_FOUND: &str = "SpecSourceSecretRefNotFound";
pub const SPEC_OUTPUT_SECRET_REF_NOT_FOUND: &str = "SpecOutputSecretRefNotFound";
pub const MULTIPLE_SECRET_REF_NOT_FOUND: &str = "MultipleSecretRefNotFound";
pub const BUILD_STRATEGY_NOT_FOUND: &str = "BuildStrategyNotFound";
pub const CLUSTER_BUILD_STRATEGY_NOT_FOUND: &str = "ClusterBuildStrategyNotFound";
pub const UNKNOWN_BUILD_STRATEGY_KIND: &str = "UnknownBuildStrategyKind";
pub const UNDEFINED_VOLUME: &str = "UndefinedVolume";
pub const VOLUME_NOT_OVERRIDABLE: &str = "VolumeNotOverridable";
pub const UNDEFINED_STEP_RESOURCE: &str = "UndefinedStepResource";
pub const OUTPUT_TIMESTAMP_NOT_SUPPORTED: &str = "OutputTimestampNotSupported";
pub const OUTPUT_TIMESTAMP_NOT_VALID: &str = "OutputTimestampNotValid";
pub const INVALID_PLATFORM: &str = "InvalidPlatform";
pub const NODE_SELECTOR_PLATFORM_CONFLICT: &str = "NodeSelectorPlatformConflict";
pub const BUILD_NAME_INVALID: &str = "BuildNameInvalid";
pub const SPEC_ENV_NAME_CANNOT_BE_BLANK: &str = "SpecEnvNameCanNotBeBlank";
pub const SPEC_ENV_NAME_FORBIDDEN: &str = "SpecEnvNameForbidden";
pub const SPEC_ENV_ONLY_ONE_OF_VALUE_OR_VALUE_FROM_MUST_BE_SPECIFIED: &str =
    "SpecEnvOnlyOneOfValueOrValueFromMustBeSpecified";
pub const TRIGGER_NAME_CANNOT_BE_BLANK: &str = "TriggerNameCanNotBeBlank";
pub const TRIGGER_INVALID_TYPE: &str = "TriggerInvalidType";
pub const TRIGGER_INVALID_GITHUB_WEBHOOK: &str = "TriggerInvalidGitHubWebHook";
pub const TRIGGER_INVALID_IMAGE: &str = "TriggerInvalidImage";
pub const TRIGGER_INVALID_PIPELINE: &str = "TriggerInvalidPipeline";
pub const NODE_SELECTOR_NOT_VALID: &str = "NodeSelectorNotValid";
pub const TOLERATION_NOT_VALID: &str = "TolerationNotValid";
pub const SCHEDULER_NAME_NOT_VALID: &str = "SchedulerNameNotValid";
pub const RUNTIME_CLASS_NAME_NOT_VALID: &str = "RuntimeClassNameNotValid";

// Parameters of a Build or BuildRun.
pub const RESTRICTED_PARAMETERS_IN_USE: &str = "RestrictedParametersInUse";
pub const UNDEFINED_PARAMETER: &str = "UndefinedParameter";
pub const WRONG_PARAMETER_VALUE_TYPE: &str = "WrongParameterValueType";
pub const MISSING_PARAMETER_VALUES: &str = "MissingParameterValues";
pub const INCONSISTENT_PARAMETER_VALUES: &str = "InconsistentParameterValues";
pub const EMPTY_ARRAY_ITEM_PARAMETER_VALUES: &str = "EmptyArrayItemParameterValues";
pub const INCOMPLETE_CONFIG_MAP_VALUE_PARAMETER_VALUES: &str =
    "IncompleteConfigMapValueParameterValues";
pub const INCOMPLETE_SECRET_VALUE_PARAMETER_VALUES: &str = "IncompleteSecretValueParameterValues";

// A BuildRun that cannot start.
pub const BUILD_RUN_NAME_INVALID: &str = "BuildRunNameInvalid";
pub const BUILD_RUN_NO_REF_OR_SPEC: &str = "BuildRunNoRefOrSpec";
pub const BUILD_RUN_AMBIGUOUS_BUILD: &str = "BuildRunAmbiguousBuild";
pub const BUILD_RUN_BUILD_FIELD_OVERRIDE_FORBIDDEN: &str = "BuildRunBuildFieldOverrideForbidden";
pub const BUILD_NOT_FOUND: &str = "BuildNotFound";
pub const BUILD_REGISTRATION_FAILED: &str = "BuildRegistrationFailed";
pub const SERVICE_ACCOUNT_NOT_FOUND: &str = "ServiceAccountNotFound";
pub const UNKNOWN_STRATEGY_KIND: &str = "UnknownStrategyKind";
pub const EXECUTOR_NOT_PIPELINE_RUN: &str = "ExecutorNotPipelineRun";
pub const TASK_RUN_GENERATION_FAILED: &str = "TaskRunGenerationFailed";
pub const VOLUME_DOES_NOT_EXIST: &str = "VolumeDoesNotExist";

// A BuildRun under way.
pub const PENDING: &str = "Pending";
pub const RUNNING: &str = "Running";
pub const EXCEEDED_NODE_RESOURCES: &str = "ExceededNodeResources";
pub const EXCEEDED_RESOURCE_QUOTA: &str = "ExceededResourceQuota";
pub const PULL_IMAGE_FAILED: &str = "PullImageFailed";

// A BuildRun that is over.
pub const BUILD_RUN_CANCELED: &str = "BuildRunCanceled";
pub const BUILD_RUN_TIMEOUT: &str = "BuildRunTimeout";
pub const FAILED: &str = "Failed";
pub const POD_EVICTED: &str = "PodEvicted";
pub const STEP_OUT_OF_MEMORY: &str = "StepOutOfMemory";
pub const VULNERABILITIES_FOUND: &str = "VulnerabilitiesFound";
pub const POD_ADMISSION_FAILED: &str = "PodAdmissionFailed";
pub const POD_CREATION_FAILED: &str = "PodCreationFailed";
pub const TASK_RUN_IMAGE_PULL_FAILED: &str = "TaskRunImagePullFailed";
pub const CREATE_CONTAINER_CONFIG_ERROR: &str = "CreateContainerConfigError";
pub const INIT_CONTAINER_OOM: &str = "InitContainerOOM";
pub const INIT_CONTAINER_FAILED: &str = "InitContainerFailed";
