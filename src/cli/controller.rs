//! `slipway controller`: runs BuildRuns on a cluster.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::controller_settings::SettingsArguments;
use super::{Error, Exit, complain, log};
use crate::api::GoDuration;
use crate::cluster::{self, Controlling, Election, Label, MetricSettings};

pub const EXAMPLES: &str = "Examples:
  slipway controller                                   with the cluster of the kubeconfig, or of the pod that it runs in
  slipway controller --leader-election-namespace team  where the lease of upstream's namespace is out of reach
  PROMETHEUS_ENABLED_LABELS=namespace,build slipway controller";

#[derive(Debug, clap::Args)]
pub struct ControllerArguments {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Namespace of the lease by which replicas agree on a leader
    #[arg(long, env = "BUILD_CONTROLLER_LEADER_ELECTION_NAMESPACE", default_value = "default")]
    leader_election_namespace: String,
    /// How long others wait for a leader that does not renew its lease
    #[arg(long, env = "BUILD_CONTROLLER_LEASE_DURATION", default_value = "15s", value_parser = duration)]
    lease_duration: Duration,
    /// When a leader that cannot renew its lease stops acting
    #[arg(long, env = "BUILD_CONTROLLER_RENEW_DEADLINE", default_value = "10s", value_parser = duration)]
    renew_deadline: Duration,
    /// Between two tries for the lease
    #[arg(long, env = "BUILD_CONTROLLER_RETRY_PERIOD", default_value = "2s", value_parser = duration)]
    retry_period: Duration,
    /// Registries that are asked without TLS what an image runs, with commas between
    #[arg(long, env = "INSECURE_REGISTRIES", value_delimiter = ',', value_name = "HOSTS")]
    insecure_registries: Vec<String>,
    /// Builds that are judged at once; 0 for the default
    #[arg(long, env = "BUILD_MAX_CONCURRENT_RECONCILES", default_value_t = 0)]
    build_max_concurrent_reconciles: u16,
    /// BuildRuns that are worked on at once; 0 for the default
    #[arg(long, env = "BUILDRUN_MAX_CONCURRENT_RECONCILES", default_value_t = 0)]
    buildrun_max_concurrent_reconciles: u16,
    /// Address of metrics and probes
    #[arg(long, env = "METRICS_ADDRESS", default_value = "0.0.0.0:8383")]
    metrics_address: SocketAddr,
    /// Labels of the metrics, with commas between: buildstrategy, namespace, build, buildrun
    #[arg(long, env = "PROMETHEUS_ENABLED_LABELS", default_value = "", value_name = "LABELS")]
    prometheus_enabled_labels: String,
    /// Buckets of the duration of runs, in seconds with commas between
    #[arg(long, env = "PROMETHEUS_BR_COMP_DUR_BUCKETS", value_name = "SECONDS", value_parser = buckets)]
    prometheus_br_comp_dur_buckets: Option<Buckets>,
    /// Buckets of the time that runs take to start, in seconds with commas between
    #[arg(long, env = "PROMETHEUS_BR_EST_DUR_BUCKETS", value_name = "SECONDS", value_parser = buckets)]
    prometheus_br_est_dur_buckets: Option<Buckets>,
    /// Buckets of the parts of that time, in seconds with commas between
    #[arg(long, env = "PROMETHEUS_BR_RAMPUP_DUR_BUCKETS", value_name = "SECONDS", value_parser = buckets)]
    prometheus_br_rampup_dur_buckets: Option<Buckets>,
    /// What is logged, such as `debug` or `slipway=debug,kube=info`
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    log_level: String,
    /// File that gets the reason when the controller cannot start
    #[arg(
        long,
        env = "TERMINATION_LOG_PATH",
        default_value = "/dev/termination-log",
        value_name = "FILE"
    )]
    termination_log_path: PathBuf,
}

/// Reconciles at once where nothing is said: they wait for the API server most of the time.
const CONCURRENCY: u16 = 16;

#[derive(Debug, Clone)]
struct Buckets(Vec<f64>);

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = GoDuration(text.to_owned()).parse().map_err(|error| error.to_string())?;
    u64::try_from(parsed.0).map(Duration::from_nanos).map_err(|_| "must not be negative".to_owned())
}

fn buckets(text: &str) -> Result<Buckets, String> {
    let bounds = text.split(',').map(|bound| match bound.trim().parse::<f64>() {
        Ok(bound) if bound.is_finite() => Ok(bound),
        _ => Err(format!("{bound:?} is no number of seconds")),
    });
    let bounds: Vec<f64> = bounds.collect::<Result<_, _>>()?;
    if bounds.is_sorted() {
        Ok(Buckets(bounds))
    } else {
        Err("must rise from bucket to bucket".into())
    }
}

impl ControllerArguments {
    /// What makes two replicas act at once, or none for long.
    fn election_problems(&self) -> Vec<String> {
        // The lease says its duration in whole seconds.
        let duration = Duration::from_secs(self.lease_duration.as_secs());
        let rising = [
            ("--retry-period", self.retry_period, "--renew-deadline", self.renew_deadline),
            ("--renew-deadline", self.renew_deadline, "--lease-duration", duration),
        ];
        let wrong = rising.into_iter().filter(|(_, shorter, _, longer)| shorter >= longer);
        wrong
            .map(|(one, shorter, other, longer)| {
                format!("{one} is {shorter:?}: give less than {other}, {longer:?}")
            })
            .collect()
    }

    fn controlling(&self) -> Result<Controlling, Vec<String>> {
        let at_once = |asked: u16| if asked == 0 { CONCURRENCY } else { asked };
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let own = MetricSettings::default();
        let bounds = |given: &Option<Buckets>, own: Vec<f64>| {
            given.as_ref().map_or(own, |Buckets(bounds)| bounds.clone())
        };
        let problems = self.election_problems();
        if !problems.is_empty() {
            return Err(problems);
        }
        let wanted: Vec<&str> = self.prometheus_enabled_labels.split(',').collect();
        let labels = Label::ALL.into_iter().filter(|(word, _)| wanted.contains(word));
        Ok(Controlling {
            kubeconfig: None,
            request_rate: None,
            longest_reconcile: Duration::from_mins(1),
            settings: self.settings.settings()?,
            election: Election {
                namespace: self.leader_election_namespace.clone(),
                identity: format!("{host}_{}", std::process::id()),
                duration: self.lease_duration,
                renew_deadline: self.renew_deadline,
                retry_period: self.retry_period,
            },
            insecure_registries: self.insecure_registries.clone(),
            builds: at_once(self.build_max_concurrent_reconciles),
            build_runs: at_once(self.buildrun_max_concurrent_reconciles),
            address: self.metrics_address,
            metrics: MetricSettings {
                labels: labels.map(|(_, label)| label).collect(),
                completion: bounds(&self.prometheus_br_comp_dur_buckets, own.completion),
                establish: bounds(&self.prometheus_br_est_dur_buckets, own.establish),
                ramp_up: bounds(&self.prometheus_br_rampup_dur_buckets, own.ramp_up),
            },
        })
    }
}

pub fn controller(arguments: &ControllerArguments) -> Result<Exit, Error> {
    let controlling = match arguments.controlling() {
        Ok(controlling) => controlling,
        Err(problems) => {
            for problem in problems {
                complain(&format!("error: {problem}"));
            }
            return Ok(Exit::Usage);
        }
    };
    let filter = EnvFilter::try_new(&arguments.log_level)
        .map_err(|source| Error::LogLevel { level: arguments.log_level.clone(), source })?;
    log::begin(filter);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let ended: Result<Exit, Error> = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
        let stop = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        cluster::control(controlling, stop).await?;
        Ok(Exit::Done)
    });
    if let Err(error) = &ended {
        // Outside of a pod there is no such file.
        let log = std::fs::OpenOptions::new().write(true).open(&arguments.termination_log_path);
        drop(log.and_then(|mut log| log.write_all(error.to_string().as_bytes())));
    }
    ended
}
