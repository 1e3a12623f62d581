//! Labels and annotations by which a run, its Build and its pod find each other.

/// Label of a run and of its pod with the name of the Build, where it names one.
pub const BUILD_LABEL: &str = "build.shipwright.io/name";
/// Label beside it: which generation of that Build.
pub const BUILD_GENERATION_LABEL: &str = "build.shipwright.io/generation";
/// Label of everything that is made for a run.
pub const RUN_LABEL: &str = "buildrun.shipwright.io/name";
/// Label of a pod: which generation of the run.
pub const RUN_GENERATION_LABEL: &str = "buildrun.shipwright.io/generation";
/// Annotation of a run with the name of its pod.
pub const POD_ANNOTATION: &str = "slipway.dev/pod";
/// Annotation of a run with the number of its pods that were lost, where there are some.
pub const ATTEMPT_ANNOTATION: &str = "slipway.dev/attempt";
