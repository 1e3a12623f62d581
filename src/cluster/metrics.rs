//! Figures for Prometheus, with the names, labels and buckets of upstream and of the library that its controllers stand on.
//!
//! Invariant: a label that was not asked for is not there: names of Builds and runs can be many.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::error::ClusterError;
use crate::api::{Build, BuildRun};

/// A label that somebody may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Name of the strategy.
    BuildStrategy,
    /// Namespace of Build and run.
    Namespace,
    /// Name of the Build.
    Build,
    /// Name of the run.
    BuildRun,
}

impl Label {
    /// All of them, by the word that asks for them and that they carry.
    pub const ALL: [(&str, Self); 4] = [
        ("buildstrategy", Self::BuildStrategy),
        ("namespace", Self::Namespace),
        ("build", Self::Build),
        ("buildrun", Self::BuildRun),
    ];
}

/// Labels, and the upper bounds of the histograms' buckets in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSettings {
    /// Labels that are wanted.
    pub labels: Vec<Label>,
    /// From the run's creation to its end.
    pub completion: Vec<f64>,
    /// From the run's creation to its start.
    pub establish: Vec<f64>,
    /// From one part of its start to the next.
    pub ramp_up: Vec<f64>,
}

impl Default for MetricSettings {
    fn default() -> Self {
        Self {
            labels: Vec::new(),
            completion: (1..=10).map(|step| f64::from(step) * 50.0).collect(),
            establish: [0, 1, 2, 3, 5, 7, 10, 15, 20, 30].map(f64::from).into(),
            ramp_up: (0..10).map(f64::from).collect(),
        }
    }
}

/// Upstream's name of whoever judges Builds.
pub const BUILD_CONTROLLER: &str = "build-controller";
/// Upstream's name of whoever works on BuildRuns.
pub const BUILD_RUN_CONTROLLER: &str = "buildrun-controller";

/// How a reconcile may end, in the words of upstream's library.
const RESULTS: [&str; 4] = ["error", "requeue", "requeue_after", "success"];

/// Upper bounds of the buckets for the time of a reconcile, in seconds: those of upstream's library.
const RECONCILE_TIMES: [f64; 40] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9,
    1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0,
    25.0, 30.0, 40.0, 50.0, 60.0,
];

/// All figures.
pub struct Metrics {
    registry: Registry,
    wanted: Vec<Label>,
    registered: IntCounterVec,
    completed: IntCounterVec,
    establish: HistogramVec,
    completion: HistogramVec,
    ramp_up: HistogramVec,
    task_ramp_up: HistogramVec,
    pod_ramp_up: HistogramVec,
    reconciles: IntCounterVec,
    reconcile_errors: IntCounterVec,
    reconcile_time: HistogramVec,
    active: IntGaugeVec,
    most_active: IntGaugeVec,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Metrics {
    pub fn new(settings: &MetricSettings) -> Result<Self, prometheus::Error> {
        let wanted = Label::ALL.into_iter().filter(|(_, label)| settings.labels.contains(label));
        let (words, wanted): (Vec<&str>, Vec<Label>) = wanted.unzip();
        let of_build: Vec<&str> =
            words.iter().copied().filter(|word| *word != "buildrun").collect();
        let registry = Registry::new();
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            histograms(&registry, options, &words)
        };
        let metrics = Self {
            registered: counters(
                &registry,
                "build_builds_registered_total",
                "Builds judged and found good",
                &of_build,
            )?,
            completed: counters(
                &registry,
                "build_buildruns_completed_total",
                "BuildRuns for which a pod was made",
                &words,
            )?,
            establish: histogram(
                "build_buildrun_establish_duration_seconds",
                "Seconds from the creation of a BuildRun to its start",
                &settings.establish,
            )?,
            completion: histogram(
                "build_buildrun_completion_duration_seconds",
                "Seconds from the creation of a BuildRun to its end",
                &settings.completion,
            )?,
            ramp_up: histogram(
                "build_buildrun_rampup_duration_seconds",
                "Seconds from the creation of a BuildRun to that of its pod",
                &settings.ramp_up,
            )?,
            task_ramp_up: histogram(
                "build_buildrun_taskrun_rampup_duration_seconds",
                "Seconds from the creation of what executes a BuildRun to that of its pod",
                &settings.ramp_up,
            )?,
            pod_ramp_up: histogram(
                "build_buildrun_taskrun_pod_rampup_duration_seconds",
                "Seconds from the creation of a pod to the end of its last init container",
                &settings.ramp_up,
            )?,
            reconciles: counters(
                &registry,
                "controller_runtime_reconcile_total",
                "Reconciles",
                &["controller", "result"],
            )?,
            reconcile_errors: counters(
                &registry,
                "controller_runtime_reconcile_errors_total",
                "Reconciles that ended with an error and are tried again",
                &["controller"],
            )?,
            reconcile_time: histograms(
                &registry,
                HistogramOpts::new(
                    "controller_runtime_reconcile_time_seconds",
                    "Seconds that a reconcile takes",
                )
                .buckets(RECONCILE_TIMES.into()),
                &["controller"],
            )?,
            active: gauges(&registry, "controller_runtime_active_workers", "Reconciles under way")?,
            most_active: gauges(
                &registry,
                "controller_runtime_max_concurrent_reconciles",
                "Reconciles that may be under way at once",
            )?,
            wanted,
            registry,
        };
        // They are there before anything has happened, so that a rate over them is right from the first event on.
        for controller in [BUILD_CONTROLLER, BUILD_RUN_CONTROLLER] {
            for result in RESULTS {
                metrics.reconciles.with_label_values(&[controller, result]);
            }
            metrics.reconcile_errors.with_label_values(&[controller]);
            metrics.reconcile_time.with_label_values(&[controller]);
            metrics.active.with_label_values(&[controller]);
        }
        #[cfg(target_os = "linux")]
        metrics
            .registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// A Build was judged and found good.
    pub fn build_registered(&self, build: &Build) {
        let (namespace, name) = (build.namespace().unwrap_or_default(), build.name_any());
        self.registered
            .with_label_values(&self.labels(&build.spec.strategy.name, &namespace, &name, None))
            .inc();
    }

    /// A pod was made for a run, or asked for and refused; as upstream counts, this completes it.
    pub fn pod_made(&self, run: &BuildRun, at: Option<&Time>) {
        self.of_run(run, |labels| self.completed.with_label_values(labels).inc());
        self.observe(run, &self.ramp_up, created(&run.metadata), at);
    }

    /// A run has started: its status says so for the first time.
    pub fn started(&self, run: &BuildRun) {
        let start = run.status.as_ref().and_then(|status| status.start_time.as_ref());
        self.observe(run, &self.establish, created(&run.metadata), start);
    }

    /// A run has ended.
    pub fn ended(&self, run: &BuildRun, pod: Option<&Pod>) {
        let end = run.status.as_ref().and_then(|status| status.completion_time.as_ref());
        self.observe(run, &self.completion, created(&run.metadata), end);
        let Some(pod) = pod else { return };
        let pod_created = created(&pod.metadata);
        // The pod is what executes the run.
        self.observe(run, &self.task_ramp_up, pod_created, pod_created);
        let init =
            pod.status.as_ref().and_then(|status| status.init_container_statuses.as_ref()?.last());
        let ended =
            init.and_then(|init| init.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
        self.observe(run, &self.pod_ramp_up, pod_created, ended);
    }

    /// So many reconciles may be under way at once.
    pub fn may_reconcile(&self, controller: &str, at_once: u16) {
        self.most_active.with_label_values(&[controller]).set(at_once.into());
    }

    /// A reconcile has begun, and is under way until what this returns is dropped.
    pub fn reconciling(&self, controller: &str) -> UnderWay {
        let active = self.active.with_label_values(&[controller]);
        active.inc();
        UnderWay(active)
    }

    /// A reconcile has ended.
    pub fn reconciled(
        &self,
        controller: &str,
        outcome: &Result<Action, ClusterError>,
        took: Duration,
    ) {
        let result = match outcome {
            // What overtook it is no failure.
            Err(error) if error.is_conflict() => "requeue",
            Err(_) => "error",
            Ok(action) if *action == Action::await_change() => "success",
            Ok(_) => "requeue_after",
        };
        self.reconciles.with_label_values(&[controller, result]).inc();
        if result == "error" {
            self.reconcile_errors.with_label_values(&[controller]).inc();
        }
        self.reconcile_time.with_label_values(&[controller]).observe(took.as_secs_f64());
    }

    /// Everything, as Prometheus reads it.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    fn observe(
        &self,
        run: &BuildRun,
        histograms: &HistogramVec,
        from: Option<&Time>,
        to: Option<&Time>,
    ) {
        if let (Some(from), Some(to)) = (from, to) {
            let seconds = to.0.duration_since(from.0).as_secs_f64();
            self.of_run(run, |labels| histograms.with_label_values(labels).observe(seconds));
        }
    }

    fn of_run(&self, run: &BuildRun, count: impl FnOnce(&[&str])) {
        let spec = run.status.as_ref().and_then(|status| status.build_spec.as_ref());
        let strategy = spec.map(|spec| spec.strategy.name.as_str()).unwrap_or_default();
        let build = run.spec.build.name.as_deref().unwrap_or_default();
        let namespace = run.namespace().unwrap_or_default();
        count(&self.labels(strategy, &namespace, build, Some(&run.name_any())));
    }

    /// Values of the labels that are wanted, in order.
    fn labels<'a>(
        &self,
        strategy: &'a str,
        namespace: &'a str,
        build: &'a str,
        run: Option<&'a str>,
    ) -> Vec<&'a str> {
        let value = |label: &Label| match label {
            Label::BuildStrategy => Some(strategy),
            Label::Namespace => Some(namespace),
            Label::Build => Some(build),
            Label::BuildRun => run,
        };
        self.wanted.iter().filter_map(value).collect()
    }
}

/// A reconcile that is under way.
#[derive(Debug)]
pub struct UnderWay(IntGauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauges(registry: &Registry, name: &str, help: &str) -> Result<IntGaugeVec, prometheus::Error> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), &["controller"])?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

fn histograms(
    registry: &Registry,
    options: HistogramOpts,
    labels: &[&str],
) -> Result<HistogramVec, prometheus::Error> {
    let histograms = HistogramVec::new(options, labels)?;
    registry.register(Box::new(histograms.clone()))?;
    Ok(histograms)
}

fn created(metadata: &kube::api::ObjectMeta) -> Option<&Time> {
    metadata.creation_timestamp.as_ref()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run() -> BuildRun {
        serde_json::from_value(json!({
            "metadata": { "name": "app-1", "namespace": "team", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "build": { "name": "app" } },
            "status": {
                "buildSpec": { "strategy": { "name": "buildah" }, "output": { "image": "registry.example.com/app" } },
                "startTime": "2026-01-01T00:00:04Z",
                "completionTime": "2026-01-01T00:01:10Z",
            },
        }))
        .unwrap()
    }

    fn pod() -> Pod {
        let ended =
            json!({ "terminated": { "exitCode": 0, "finishedAt": "2026-01-01T00:00:03Z" } });
        let prepare = json!({ "name": "prepare", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": ended });
        serde_json::from_value(json!({
            "metadata": { "creationTimestamp": "2026-01-01T00:00:01Z" },
            "status": { "initContainerStatuses": [prepare] },
        }))
        .unwrap()
    }

    fn counted(labels: &[Label]) -> String {
        let metrics =
            Metrics::new(&MetricSettings { labels: labels.to_vec(), ..MetricSettings::default() })
                .unwrap();
        let build = json!({
            "metadata": { "name": "app", "namespace": "team" },
            "spec": { "strategy": { "name": "buildah" }, "output": { "image": "registry.example.com/app" } },
        });
        let build: Build = serde_json::from_value(build).unwrap();
        metrics.build_registered(&build);
        metrics.pod_made(&run(), created(&pod().metadata));
        metrics.started(&run());
        metrics.ended(&run(), Some(&pod()));
        metrics.text().unwrap()
    }

    /// Lines of Builds and runs without comments.
    fn samples(text: &str) -> Vec<&str> {
        text.lines().filter(|line| line.starts_with("build_")).collect()
    }

    #[test]
    fn names_types_and_moments_are_those_of_upstream() {
        let text = counted(&[]);
        for (name, kind) in [
            ("build_builds_registered_total", "counter"),
            ("build_buildruns_completed_total", "counter"),
            ("build_buildrun_establish_duration_seconds", "histogram"),
            ("build_buildrun_completion_duration_seconds", "histogram"),
            ("build_buildrun_rampup_duration_seconds", "histogram"),
            ("build_buildrun_taskrun_rampup_duration_seconds", "histogram"),
            ("build_buildrun_taskrun_pod_rampup_duration_seconds", "histogram"),
            ("controller_runtime_reconcile_total", "counter"),
            ("controller_runtime_reconcile_errors_total", "counter"),
            ("controller_runtime_reconcile_time_seconds", "histogram"),
            ("controller_runtime_active_workers", "gauge"),
            ("process_resident_memory_bytes", "gauge"),
        ] {
            assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}: {text}");
        }
        let sums = samples(&text).into_iter().filter(|line| !line.contains("_bucket{"));
        assert_eq!(
            sums.collect::<Vec<_>>(),
            [
                "build_buildrun_completion_duration_seconds_sum 70",
                "build_buildrun_completion_duration_seconds_count 1",
                "build_buildrun_establish_duration_seconds_sum 4",
                "build_buildrun_establish_duration_seconds_count 1",
                "build_buildrun_rampup_duration_seconds_sum 1",
                "build_buildrun_rampup_duration_seconds_count 1",
                "build_buildrun_taskrun_pod_rampup_duration_seconds_sum 2",
                "build_buildrun_taskrun_pod_rampup_duration_seconds_count 1",
                "build_buildrun_taskrun_rampup_duration_seconds_sum 0",
                "build_buildrun_taskrun_rampup_duration_seconds_count 1",
                "build_buildruns_completed_total 1",
                "build_builds_registered_total 1",
            ]
        );
        let bounds = |name: &str| {
            let prefix = format!("build_buildrun_{name}_duration_seconds_bucket{{le=\"");
            let bounds =
                text.lines().filter_map(|line| line.strip_prefix(&prefix)?.split('"').next());
            bounds.collect::<Vec<_>>().join(",")
        };
        assert_eq!(bounds("completion"), "50,100,150,200,250,300,350,400,450,500,+Inf");
        assert_eq!(bounds("establish"), "0,1,2,3,5,7,10,15,20,30,+Inf");
        for name in ["rampup", "taskrun_rampup", "taskrun_pod_rampup"] {
            assert_eq!(bounds(name), "0,1,2,3,4,5,6,7,8,9,+Inf");
        }
    }

    #[test]
    fn labels_are_those_that_are_asked_for() {
        let all = counted(&[Label::BuildRun, Label::Build, Label::Namespace, Label::BuildStrategy]);
        let of_build = r#"{build="app",buildstrategy="buildah",namespace="team"} 1"#;
        let of_run = r#"{build="app",buildrun="app-1",buildstrategy="buildah",namespace="team"} 1"#;
        for (name, labels) in [
            ("build_builds_registered_total", of_build),
            ("build_buildruns_completed_total", of_run),
            ("build_buildrun_establish_duration_seconds_count", of_run),
        ] {
            assert!(samples(&all).contains(&&*format!("{name}{labels}")), "{all}");
        }
        let one = counted(&[Label::Namespace]);
        for name in ["build_builds_registered_total", "build_buildruns_completed_total"] {
            let line = format!(r#"{name}{{namespace="team"}} 1"#);
            assert!(samples(&one).contains(&&*line), "{one}");
        }
    }

    #[test]
    fn results_of_reconciles_have_the_words_of_upstreams_library() {
        let metrics = Metrics::new(&MetricSettings::default()).unwrap();
        let count = |outcome: Result<Action, ClusterError>| {
            metrics.reconciled(BUILD_CONTROLLER, &outcome, Duration::from_millis(20));
        };
        count(Ok(Action::await_change()));
        count(Ok(Action::await_change()));
        count(Ok(Action::requeue(Duration::from_secs(1))));
        count(Err(ClusterError::NotLeading));
        let text = metrics.text().unwrap();
        for line in [
            r#"controller_runtime_reconcile_total{controller="build-controller",result="success"} 2"#,
            r#"controller_runtime_reconcile_total{controller="build-controller",result="requeue_after"} 1"#,
            r#"controller_runtime_reconcile_total{controller="build-controller",result="requeue"} 0"#,
            r#"controller_runtime_reconcile_total{controller="build-controller",result="error"} 1"#,
            r#"controller_runtime_reconcile_total{controller="buildrun-controller",result="error"} 0"#,
            r#"controller_runtime_reconcile_errors_total{controller="build-controller"} 1"#,
            r#"controller_runtime_reconcile_time_seconds_count{controller="build-controller"} 4"#,
            r#"controller_runtime_reconcile_time_seconds_bucket{controller="build-controller",le="0.025"} 4"#,
            r#"controller_runtime_reconcile_time_seconds_bucket{controller="build-controller",le="60"} 4"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
