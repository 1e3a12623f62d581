//! Figures for Prometheus, with upstream's names, labels and buckets.
//!
//! Invariant: a label that was not asked for is not there: names of Builds and runs can be many.

use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

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

type Labels = Vec<(String, String)>;

#[derive(Clone)]
struct Buckets(Vec<f64>);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

type Histograms = Family<Labels, Histogram, Buckets>;

/// All figures.
pub struct Metrics {
    registry: Registry,
    wanted: Vec<Label>,
    registered: Family<Labels, Counter>,
    completed: Family<Labels, Counter>,
    establish: Histograms,
    completion: Histograms,
    ramp_up: Histograms,
    task_ramp_up: Histograms,
    pod_ramp_up: Histograms,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Metrics {
    pub fn new(settings: MetricSettings) -> Self {
        let mut registry = Registry::default();
        let mut counter = |name: &str, help: &str| {
            let family = Family::<Labels, Counter>::default();
            registry.register(name, help, family.clone());
            family
        };
        let registered = counter("build_builds_registered", "Number of total registered Builds");
        let completed = counter("build_buildruns_completed", "Number of total completed BuildRuns");
        let mut histogram = |name: &str, help: &str, buckets: &[f64]| {
            let family = Histograms::new_with_constructor(Buckets(buckets.to_vec()));
            registry.register(name, help, family.clone());
            family
        };
        Self {
            establish: histogram(
                "build_buildrun_establish_duration_seconds",
                "Seconds from the creation of a BuildRun to its start",
                &settings.establish,
            ),
            completion: histogram(
                "build_buildrun_completion_duration_seconds",
                "Seconds from the creation of a BuildRun to its end",
                &settings.completion,
            ),
            ramp_up: histogram(
                "build_buildrun_rampup_duration_seconds",
                "Seconds from the creation of a BuildRun to that of its pod",
                &settings.ramp_up,
            ),
            task_ramp_up: histogram(
                "build_buildrun_taskrun_rampup_duration_seconds",
                "Seconds from the creation of what executes a BuildRun to that of its pod",
                &settings.ramp_up,
            ),
            pod_ramp_up: histogram(
                "build_buildrun_taskrun_pod_rampup_duration_seconds",
                "Seconds from the creation of a pod to the end of its last init container",
                &settings.ramp_up,
            ),
            wanted: settings.labels,
            registered,
            completed,
            registry,
        }
    }

    /// A Build was judged and found good.
    pub fn build_registered(&self, build: &Build) {
        let (namespace, name) = (build.namespace().unwrap_or_default(), build.name_any());
        self.registered
            .get_or_create(&self.labels(&build.spec.strategy.name, &namespace, &name, None))
            .inc();
    }

    /// A pod was made for a run; as upstream counts, this completes it.
    pub fn pod_made(&self, run: &BuildRun, pod: &Pod) {
        let labels = self.of_run(run);
        self.completed.get_or_create(&labels).inc();
        observe(&self.ramp_up, &labels, created(&run.metadata), created(&pod.metadata));
    }

    /// A run has started: its status says so for the first time.
    pub fn started(&self, run: &BuildRun) {
        let start = run.status.as_ref().and_then(|status| status.start_time.as_ref());
        observe(&self.establish, &self.of_run(run), created(&run.metadata), start);
    }

    /// A run has ended.
    pub fn ended(&self, run: &BuildRun, pod: Option<&Pod>) {
        let labels = self.of_run(run);
        let end = run.status.as_ref().and_then(|status| status.completion_time.as_ref());
        observe(&self.completion, &labels, created(&run.metadata), end);
        let Some(pod) = pod else { return };
        let pod_created = created(&pod.metadata);
        // The pod is what executes the run.
        observe(&self.task_ramp_up, &labels, pod_created, pod_created);
        let init =
            pod.status.as_ref().and_then(|status| status.init_container_statuses.as_ref()?.last());
        let ended =
            init.and_then(|init| init.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
        observe(&self.pod_ramp_up, &labels, pod_created, ended);
    }

    /// Everything, as Prometheus reads it.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn of_run(&self, run: &BuildRun) -> Labels {
        let spec = run.status.as_ref().and_then(|status| status.build_spec.as_ref());
        let strategy = spec.map(|spec| spec.strategy.name.as_str()).unwrap_or_default();
        let build = run.spec.build.name.as_deref().unwrap_or_default();
        self.labels(strategy, &run.namespace().unwrap_or_default(), build, Some(&run.name_any()))
    }

    fn labels(&self, strategy: &str, namespace: &str, build: &str, run: Option<&str>) -> Labels {
        let value = |label| match label {
            Label::BuildStrategy => Some(strategy),
            Label::Namespace => Some(namespace),
            Label::Build => Some(build),
            Label::BuildRun => run,
        };
        let wanted = Label::ALL.into_iter().filter(|(_, label)| self.wanted.contains(label));
        wanted
            .filter_map(|(word, label)| Some((word.to_owned(), value(label)?.to_owned())))
            .collect()
    }
}

fn created(metadata: &kube::api::ObjectMeta) -> Option<&Time> {
    metadata.creation_timestamp.as_ref()
}

fn observe(histograms: &Histograms, labels: &Labels, from: Option<&Time>, to: Option<&Time>) {
    if let (Some(from), Some(to)) = (from, to) {
        histograms.get_or_create(labels).observe(to.0.duration_since(from.0).as_secs_f64());
    }
}
