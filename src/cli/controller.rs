//! `slipway controller`: runs BuildRuns on a cluster.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::controller_settings::SettingsArguments;
use super::controller_values::{Problems, buckets, duration, whole};
use super::log::{Log, LogArguments};
use super::webhook_settings::WebhookArguments;
use super::{Error, Exit, complain};
use crate::Chain;
use crate::cluster::{self, Controlling, Election, Label, MetricSettings, RequestRate};

pub const NOTES: &str = "\
Each setting is a flag or an environment variable; the flag goes before the variable, and an empty text stands for the default. A setting
that cannot be read ends the controller with exit code 1, after all such settings have been told.

Variables of upstream's deployments without effect: CONTROLLER_NAME, WATCH_NAMESPACE (all namespaces are watched) and
REMOTE_ARTIFACTS_CONTAINER_IMAGE.

Examples:
  slipway controller                                   with the cluster of the kubeconfig, or of the pod that it runs in
  slipway controller --leader-election-namespace team  where the lease of upstream's namespace is out of reach
  PROMETHEUS_ENABLED_LABELS=namespace,build slipway controller";

#[derive(Debug, clap::Args)]
pub struct ControllerArguments {
    #[command(flatten)]
    settings: SettingsArguments,
    #[command(flatten)]
    webhook: WebhookArguments,
    #[command(flatten)]
    log: LogArguments,
    /// File that leads to the cluster; else those that KUBECONFIG names, ~/.kube/config, or the account of the pod that this runs in
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Requests to the API server in a second over a longer time; 0 and less, the default, do not limit them. The lease is exempt
    #[arg(long, env = "KUBE_API_QPS", value_name = "COUNT", allow_negative_numbers = true)]
    kube_api_qps: Option<String>,
    /// Requests that may be made at once where KUBE_API_QPS limits them; 0, the default, stands for 30
    #[arg(long, env = "KUBE_API_BURST", value_name = "COUNT", allow_negative_numbers = true)]
    kube_api_burst: Option<String>,
    /// Seconds that a reconcile may take before it is given up and tried again; by default 60
    #[arg(long, env = "CTX_TIMEOUT", value_name = "SECONDS", allow_negative_numbers = true)]
    ctx_timeout: Option<String>,
    /// Namespace of the lease by which replicas agree on a leader; by default `default`
    #[arg(long, env = "BUILD_CONTROLLER_LEADER_ELECTION_NAMESPACE", value_name = "NAMESPACE")]
    leader_election_namespace: Option<String>,
    /// What tells this replica from the others that want the lease; by default the name of the host
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
    /// How long others wait for a leader that does not renew its lease; by default 15s
    #[arg(long, env = "BUILD_CONTROLLER_LEASE_DURATION", value_name = "DURATION")]
    lease_duration: Option<String>,
    /// When a leader that cannot renew its lease stops acting; by default 10s
    #[arg(long, env = "BUILD_CONTROLLER_RENEW_DEADLINE", value_name = "DURATION")]
    renew_deadline: Option<String>,
    /// Time between two tries for the lease; by default 2s
    #[arg(long, env = "BUILD_CONTROLLER_RETRY_PERIOD", value_name = "DURATION")]
    retry_period: Option<String>,
    /// Registries that are asked without TLS what an image runs, with commas between
    #[arg(long, env = "INSECURE_REGISTRIES", value_name = "HOSTS")]
    insecure_registries: Option<String>,
    /// Builds that are judged at once; 0, the default, stands for 16
    #[arg(
        long,
        env = "BUILD_MAX_CONCURRENT_RECONCILES",
        value_name = "COUNT",
        allow_negative_numbers = true
    )]
    build_max_concurrent_reconciles: Option<String>,
    /// BuildRuns that are worked on at once; 0, the default, stands for 16
    #[arg(
        long,
        env = "BUILDRUN_MAX_CONCURRENT_RECONCILES",
        value_name = "COUNT",
        allow_negative_numbers = true
    )]
    buildrun_max_concurrent_reconciles: Option<String>,
    /// Accepted without effect: strategies are read where a Build needs them
    #[arg(
        long,
        env = "BUILDSTRATEGY_MAX_CONCURRENT_RECONCILES",
        value_name = "COUNT",
        allow_negative_numbers = true
    )]
    buildstrategy_max_concurrent_reconciles: Option<String>,
    /// Accepted without effect: strategies are read where a Build needs them
    #[arg(
        long,
        env = "CLUSTERBUILDSTRATEGY_MAX_CONCURRENT_RECONCILES",
        value_name = "COUNT",
        allow_negative_numbers = true
    )]
    clusterbuildstrategy_max_concurrent_reconciles: Option<String>,
    /// Address of metrics and probes; by default 0.0.0.0:8383
    #[arg(long, env = "METRICS_ADDRESS", value_name = "ADDRESS")]
    metrics_address: Option<String>,
    /// Labels of the metrics, with commas between: buildstrategy, namespace, build, buildrun; by default none
    #[arg(long, env = "PROMETHEUS_ENABLED_LABELS", value_name = "LABELS")]
    prometheus_enabled_labels: Option<String>,
    /// Buckets of the duration of runs, in seconds with commas between; by default 50, 100 and so on to 500. May not be empty
    #[arg(long, env = "PROMETHEUS_BR_COMP_DUR_BUCKETS", value_name = "SECONDS")]
    prometheus_br_comp_dur_buckets: Option<String>,
    /// Buckets of the time that runs take to start; by default 0,1,2,3,5,7,10,15,20,30. May not be empty
    #[arg(long, env = "PROMETHEUS_BR_EST_DUR_BUCKETS", value_name = "SECONDS")]
    prometheus_br_est_dur_buckets: Option<String>,
    /// Buckets of the parts of that time; by default 0 to 9. May not be empty
    #[arg(long, env = "PROMETHEUS_BR_RAMPUP_DUR_BUCKETS", value_name = "SECONDS")]
    prometheus_br_rampup_dur_buckets: Option<String>,
    /// File that gets the reason when the controller cannot start; by default /dev/termination-log
    #[arg(long, env = TERMINATION_LOG_PATH, value_name = "FILE")]
    termination_log_path: Option<PathBuf>,
}

const TERMINATION_LOG_PATH: &str = "TERMINATION_LOG_PATH";
/// Where the kubelet looks for the reason that a container ended.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// Reconciles at once where nothing is said: they wait for the API server most of the time.
const CONCURRENCY: u16 = 16;
/// Requests at once where only their number in a second is limited.
const BURST: u32 = 30;
/// How long a reconcile may take: without a limit one connection whose other end is gone would hold its object for a quarter of an hour.
const LONGEST_RECONCILE: Duration = Duration::from_mins(1);

impl ControllerArguments {
    fn controlling(&self, problems: &mut Problems) -> Controlling {
        let settings = self.settings.settings(problems);
        Controlling {
            kubeconfig: self.kubeconfig.clone(),
            request_rate: self.request_rate(problems),
            settings,
            election: self.election(problems),
            insecure_registries: words(self.insecure_registries.as_ref()),
            builds: at_once(
                problems,
                "BUILD_MAX_CONCURRENT_RECONCILES",
                self.build_max_concurrent_reconciles.as_ref(),
            ),
            build_runs: at_once(
                problems,
                "BUILDRUN_MAX_CONCURRENT_RECONCILES",
                self.buildrun_max_concurrent_reconciles.as_ref(),
            ),
            longest_reconcile: problems
                .read("CTX_TIMEOUT", self.ctx_timeout.as_ref(), whole::<u64>(1))
                .map_or(LONGEST_RECONCILE, Duration::from_secs),
            address: problems
                .read("METRICS_ADDRESS", self.metrics_address.as_ref(), |text| {
                    text.parse().map_err(|_| {
                        format!("{text:?} is no address with a port, such as 0.0.0.0:8383")
                    })
                })
                .unwrap_or(SocketAddr::from(([0; 4], 8383))),
            metrics: self.metrics(problems),
            webhook: self.webhook.webhook(problems),
        }
    }

    fn request_rate(&self, problems: &mut Problems) -> Option<RequestRate> {
        let a_second = problems.read(
            "KUBE_API_QPS",
            self.kube_api_qps.as_ref(),
            whole::<i32>(i32::MIN.into()),
        );
        let at_once =
            problems.read("KUBE_API_BURST", self.kube_api_burst.as_ref(), whole::<u32>(0));
        let a_second = u32::try_from(a_second?).ok().filter(|count| *count > 0)?;
        let at_once = at_once.filter(|count| *count > 0).unwrap_or(BURST);
        Some(RequestRate { at_once, a_second })
    }

    fn election(&self, problems: &mut Problems) -> Election {
        const DURATION: &str = "BUILD_CONTROLLER_LEASE_DURATION";
        const DEADLINE: &str = "BUILD_CONTROLLER_RENEW_DEADLINE";
        const PERIOD: &str = "BUILD_CONTROLLER_RETRY_PERIOD";
        let mut read = |variable, text: &Option<String>, seconds| {
            let read = problems.read(variable, text.as_ref(), duration);
            read.unwrap_or(Duration::from_secs(seconds))
        };
        let duration = read(DURATION, &self.lease_duration, 15);
        let renew_deadline = read(DEADLINE, &self.renew_deadline, 10);
        let retry_period = read(PERIOD, &self.retry_period, 2);
        // The lease says its duration in whole seconds.
        if Duration::from_secs(duration.as_secs()) <= renew_deadline {
            problems.tell(
                &[DURATION, DEADLINE],
                format!("a lease of {duration:?} must last longer than the {renew_deadline:?} in which it is renewed"),
            );
        }
        if renew_deadline <= retry_period.mul_f64(JITTER) {
            problems.tell(
                &[DEADLINE, PERIOD],
                format!("within {renew_deadline:?} there must be time for a second try after {retry_period:?}"),
            );
        }
        let namespace = self.leader_election_namespace.clone().filter(|name| !name.is_empty());
        // Replicas may share their host's name: on the network of one node, or where their template sets it. All are process 1.
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        let name = self.pod_name.clone().filter(|name| !name.is_empty()).unwrap_or_else(host);
        Election {
            namespace: namespace.unwrap_or_else(|| "default".into()),
            identity: format!("{name}_{}", std::process::id()),
            duration,
            renew_deadline,
            retry_period,
        }
    }

    fn metrics(&self, problems: &mut Problems) -> MetricSettings {
        // As upstream, which neither trims them nor minds others.
        let wanted = self.prometheus_enabled_labels.as_deref().unwrap_or_default();
        let wanted: Vec<&str> = wanted.split(',').collect();
        let labels = Label::ALL.into_iter().filter(|(word, _)| wanted.contains(word));
        let own = MetricSettings::default();
        let mut bounds = |variable, text: &Option<String>, own| {
            let read = text.as_ref().and_then(|text| problems.read_given(variable, text, buckets));
            read.unwrap_or(own)
        };
        MetricSettings {
            labels: labels.map(|(_, label)| label).collect(),
            completion: bounds(
                "PROMETHEUS_BR_COMP_DUR_BUCKETS",
                &self.prometheus_br_comp_dur_buckets,
                own.completion,
            ),
            establish: bounds(
                "PROMETHEUS_BR_EST_DUR_BUCKETS",
                &self.prometheus_br_est_dur_buckets,
                own.establish,
            ),
            ramp_up: bounds(
                "PROMETHEUS_BR_RAMPUP_DUR_BUCKETS",
                &self.prometheus_br_rampup_dur_buckets,
                own.ramp_up,
            ),
        }
    }

    /// Everything that is wrong at once, else what was asked for.
    fn read(&self) -> Result<(Controlling, Log), Vec<String>> {
        let mut problems = Problems::default();
        let controlling = self.controlling(&mut problems);
        for (variable, text) in [
            (
                "BUILDSTRATEGY_MAX_CONCURRENT_RECONCILES",
                &self.buildstrategy_max_concurrent_reconciles,
            ),
            (
                "CLUSTERBUILDSTRATEGY_MAX_CONCURRENT_RECONCILES",
                &self.clusterbuildstrategy_max_concurrent_reconciles,
            ),
        ] {
            at_once(&mut problems, variable, text.as_ref());
        }
        let log = self.log.log(&mut problems);
        let problems = problems.into_lines();
        if problems.is_empty() { Ok((controlling, log)) } else { Err(problems) }
    }
}

/// Tries for the lease are up to so many times as far apart as is set, in upstream's library.
const JITTER: f64 = 1.2;

fn at_once(problems: &mut Problems, variable: &str, text: Option<&String>) -> u16 {
    let asked = problems.read(variable, text, whole(0));
    asked.filter(|asked| *asked > 0).unwrap_or(CONCURRENCY)
}

fn words(text: Option<&String>) -> Vec<String> {
    let words = text.iter().flat_map(|text| text.split(',')).map(str::trim);
    words.filter(|word| !word.is_empty()).map(String::from).collect()
}

pub fn controller(arguments: &ControllerArguments) -> Result<Exit, Error> {
    let termination_log = arguments.termination_log_path.as_deref();
    let (controlling, log) = match arguments.read() {
        Ok(read) => read,
        Err(problems) => {
            for problem in &problems {
                complain(&format!("error: {problem}"));
            }
            leave_reason(termination_log, &problems.join("\n"));
            return Ok(Exit::Failed);
        }
    };
    log.begin();
    let ended = run(controlling);
    if let Err(error) = &ended {
        leave_reason(termination_log, &Chain(error).to_string());
    }
    ended
}

fn run(controlling: Controlling) -> Result<Exit, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
        let stop = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        Box::pin(cluster::control(controlling, stop)).await?;
        Ok(Exit::Done)
    })
}

/// Tells the kubelet why the command line of a controller, if it is one, was not understood.
pub fn leave_usage(arguments: &[OsString], problem: &clap::Error) {
    if problem.use_stderr() && arguments.get(1).is_some_and(|verb| verb == "controller") {
        let path = std::env::var_os(TERMINATION_LOG_PATH).map(PathBuf::from);
        leave_reason(path.as_deref(), &problem.to_string());
    }
}

/// Outside of a pod there is no such file, unless somebody asks for it.
fn leave_reason(path: Option<&Path>, reason: &str) {
    let asked = path.filter(|path| !path.as_os_str().is_empty());
    let path = asked.unwrap_or(Path::new(TERMINATION_LOG));
    let file = OpenOptions::new().write(true).truncate(true).create(asked.is_some()).open(path);
    if let Err(error) = file.and_then(|mut file| file.write_all(reason.as_bytes()))
        && asked.is_some()
    {
        complain(&format!("warning: cannot leave the reason in {}: {error}", path.display()));
    }
}
