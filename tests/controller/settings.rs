//! Settings by flag and by variable: all are in the help, and what is wrong is told at once, also to the kubelet.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::super::sessions::{Folder, Session};

/// A controller without any setting of its surroundings, which could not find a cluster.
fn controller(flags: &[&str], variables: &[(&str, &str)]) -> Session {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.arg("controller").args(flags).env_clear().envs(variables.iter().copied());
    Session::of(command.output().unwrap())
}

/// A file that gets the reason of a start that failed.
fn termination_log(test: &str) -> PathBuf {
    let log = Folder::new(test).path("termination-log");
    fs::write(&log, "what was there before").unwrap();
    log
}

fn errors(session: &Session) -> Vec<&str> {
    session.stderr.lines().map(|line| line.strip_prefix("error: ").unwrap_or(line)).collect()
}

/// Upstream's variables, then ours, each with its flag where it has an effect or is checked.
const VARIABLES: [(&str, Option<&str>); 46] = [
    ("CTX_TIMEOUT", Some("--ctx-timeout")),
    ("GIT_CONTAINER_TEMPLATE", Some("--git-container-template")),
    ("GIT_CONTAINER_IMAGE", Some("--git-container-image")),
    ("BUNDLE_CONTAINER_TEMPLATE", Some("--bundle-container-template")),
    ("BUNDLE_CONTAINER_IMAGE", Some("--bundle-container-image")),
    ("IMAGE_PROCESSING_CONTAINER_TEMPLATE", Some("--image-processing-container-template")),
    ("IMAGE_PROCESSING_CONTAINER_IMAGE", Some("--image-processing-container-image")),
    ("WAITER_CONTAINER_TEMPLATE", Some("--waiter-container-template")),
    ("WAITER_CONTAINER_IMAGE", Some("--waiter-container-image")),
    ("REMOTE_ARTIFACTS_CONTAINER_IMAGE", None),
    ("GIT_ENABLE_REWRITE_RULE", Some("--git-enable-rewrite-rule")),
    ("VULNERABILITY_COUNT_LIMIT", Some("--vulnerability-count-limit")),
    ("BUILDRUN_EXECUTOR", Some("--buildrun-executor")),
    ("FORBIDDEN_ENV_VAR_NAMES", Some("--forbidden-env-var-names")),
    ("PROMETHEUS_BR_COMP_DUR_BUCKETS", Some("--prometheus-br-comp-dur-buckets")),
    ("PROMETHEUS_BR_EST_DUR_BUCKETS", Some("--prometheus-br-est-dur-buckets")),
    ("PROMETHEUS_BR_RAMPUP_DUR_BUCKETS", Some("--prometheus-br-rampup-dur-buckets")),
    ("PROMETHEUS_ENABLED_LABELS", Some("--prometheus-enabled-labels")),
    ("BUILD_CONTROLLER_LEADER_ELECTION_NAMESPACE", Some("--leader-election-namespace")),
    ("BUILD_CONTROLLER_LEASE_DURATION", Some("--lease-duration")),
    ("BUILD_CONTROLLER_RENEW_DEADLINE", Some("--renew-deadline")),
    ("BUILD_CONTROLLER_RETRY_PERIOD", Some("--retry-period")),
    ("BUILD_MAX_CONCURRENT_RECONCILES", Some("--build-max-concurrent-reconciles")),
    ("BUILDRUN_MAX_CONCURRENT_RECONCILES", Some("--buildrun-max-concurrent-reconciles")),
    ("BUILDSTRATEGY_MAX_CONCURRENT_RECONCILES", Some("--buildstrategy-max-concurrent-reconciles")),
    (
        "CLUSTERBUILDSTRATEGY_MAX_CONCURRENT_RECONCILES",
        Some("--clusterbuildstrategy-max-concurrent-reconciles"),
    ),
    ("KUBE_API_BURST", Some("--kube-api-burst")),
    ("KUBE_API_QPS", Some("--kube-api-qps")),
    ("TERMINATION_LOG_PATH", Some("--termination-log-path")),
    ("KUBECONFIG", Some("--kubeconfig")),
    ("WATCH_NAMESPACE", None),
    ("POD_NAME", Some("--pod-name")),
    ("CONTROLLER_NAME", None),
    ("PREPARE_CONTAINER_IMAGE", Some("--prepare-container-image")),
    ("BUILDRUN_RESOURCE_REQUESTS", Some("--buildrun-resource-requests")),
    ("BUILDRUN_POD_RETRIES", Some("--buildrun-pod-retries")),
    ("INSECURE_REGISTRIES", Some("--insecure-registries")),
    ("METRICS_ADDRESS", Some("--metrics-address")),
    ("LOG_LEVEL", Some("--log-level")),
    ("WEBHOOK_NAMESPACE", Some("--webhook-namespace")),
    ("WEBHOOK_ADDRESS", Some("--webhook-address")),
    ("ADMISSION_ENABLED", Some("--admission-enabled")),
    ("TLS_MIN_VERSION", Some("--tls-min-version")),
    ("TLS_CIPHER_SUITES", Some("--tls-cipher-suites")),
    // Upstream's flags without a variable.
    ("--version", None),
    ("--zap-devel", None),
];

const ZAP: [&str; 5] = [
    "--zap-encoder",
    "--zap-level",
    "--zap-log-level",
    "--zap-stacktrace-level",
    "--zap-time-encoding",
];

#[test]
fn the_help_has_every_setting_and_no_other() {
    let help = controller(&["--help"], &[]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    let words: Vec<&str> =
        help.stdout.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))).collect();
    let of_variables = VARIABLES.iter().flat_map(|(variable, flag)| [Some(*variable), *flag]);
    for word in of_variables.flatten().chain(ZAP) {
        assert!(words.contains(&word), "{word} is not in the help");
    }
    let flags = words.iter().filter(|word| word.starts_with("--") && word.len() > 2);
    let known: Vec<&str> = VARIABLES
        .iter()
        .flat_map(|(variable, flag)| [*variable, flag.unwrap_or_default()])
        .collect();
    for flag in flags {
        assert!(
            *flag == "--help" || ZAP.contains(flag) || known.contains(flag),
            "{flag} is in the help, but not in this test"
        );
    }
    let version = controller(&["--version"], &[]);
    assert_eq!(version.code, Some(0));
    assert_eq!(version.stdout, concat!("slipway-controller ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let log = termination_log("everything_that_is_wrong");
    let session = controller(
        &["--zap-encoder=xml"],
        &[
            ("TERMINATION_LOG_PATH", log.to_str().unwrap()),
            ("CTX_TIMEOUT", "0"),
            ("GIT_CONTAINER_TEMPLATE", r#"{"imag":"x"}"#),
            ("BUNDLE_CONTAINER_TEMPLATE", "[]"),
            ("IMAGE_PROCESSING_CONTAINER_TEMPLATE", r#"{"securityContext":{"runasuser":1}}"#),
            ("WAITER_CONTAINER_TEMPLATE", r#"{"imagePullPolicy":"never"}"#),
            ("VULNERABILITY_COUNT_LIMIT", "fifty"),
            ("BUILDRUN_EXECUTOR", "Job"),
            ("PROMETHEUS_BR_COMP_DUR_BUCKETS", ""),
            ("PROMETHEUS_BR_EST_DUR_BUCKETS", "5,3"),
            ("PROMETHEUS_BR_RAMPUP_DUR_BUCKETS", "1,b"),
            ("BUILD_CONTROLLER_LEASE_DURATION", "8s"),
            ("BUILD_CONTROLLER_RETRY_PERIOD", "9s"),
            ("BUILD_MAX_CONCURRENT_RECONCILES", "-1"),
            ("BUILDRUN_MAX_CONCURRENT_RECONCILES", "70000"),
            ("BUILDSTRATEGY_MAX_CONCURRENT_RECONCILES", "a"),
            ("CLUSTERBUILDSTRATEGY_MAX_CONCURRENT_RECONCILES", "0x10"),
            ("KUBE_API_BURST", "-30"),
            ("KUBE_API_QPS", "2.5"),
            ("BUILDRUN_RESOURCE_REQUESTS", "sum"),
            ("BUILDRUN_POD_RETRIES", "-2"),
            ("METRICS_ADDRESS", ":8383"),
            ("WEBHOOK_ADDRESS", "8443"),
            ("ADMISSION_ENABLED", "no"),
            ("TLS_MIN_VERSION", "1.2"),
            ("TLS_CIPHER_SUITES", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            ("LOG_LEVEL", "slipway=loud"),
        ],
    );
    let expected = [
        "--git-container-template (GIT_CONTAINER_TEMPLATE): imag cannot be set; only args, command, env, image, imagePullPolicy, resources, securityContext, workingDir can",
        "--bundle-container-template (BUNDLE_CONTAINER_TEMPLATE): must be a JSON object",
        "--image-processing-container-template (IMAGE_PROCESSING_CONTAINER_TEMPLATE): securityContext.runasuser cannot be set: no container has it",
        "--waiter-container-template (WAITER_CONTAINER_TEMPLATE): imagePullPolicy: \"never\" is neither Always nor IfNotPresent nor Never",
        "--vulnerability-count-limit (VULNERABILITY_COUNT_LIMIT): \"fifty\" is no whole number",
        "--buildrun-pod-retries (BUILDRUN_POD_RETRIES): -2 is less than 0",
        "--buildrun-resource-requests (BUILDRUN_RESOURCE_REQUESTS): \"sum\" is neither Largest nor Sum",
        "--buildrun-executor (BUILDRUN_EXECUTOR): unsupported BuildrunExecutor: Job",
        "--kube-api-qps (KUBE_API_QPS): \"2.5\" is no whole number",
        "--kube-api-burst (KUBE_API_BURST): -30 is less than 0",
        "--lease-duration (BUILD_CONTROLLER_LEASE_DURATION), --renew-deadline (BUILD_CONTROLLER_RENEW_DEADLINE): a lease of 8s must last longer than the 10s in which it is renewed",
        "--renew-deadline (BUILD_CONTROLLER_RENEW_DEADLINE), --retry-period (BUILD_CONTROLLER_RETRY_PERIOD): within 10s there must be time for a second try after 9s",
        "--build-max-concurrent-reconciles (BUILD_MAX_CONCURRENT_RECONCILES): -1 is less than 0",
        "--buildrun-max-concurrent-reconciles (BUILDRUN_MAX_CONCURRENT_RECONCILES): 70000 is too large",
        "--ctx-timeout (CTX_TIMEOUT): 0 is less than 1",
        "--metrics-address (METRICS_ADDRESS): \":8383\" is no address with a port, such as 0.0.0.0:8383",
        "--prometheus-br-comp-dur-buckets (PROMETHEUS_BR_COMP_DUR_BUCKETS): \"\" is no number of seconds",
        "--prometheus-br-est-dur-buckets (PROMETHEUS_BR_EST_DUR_BUCKETS): \"5,3\" does not rise from bucket to bucket",
        "--prometheus-br-rampup-dur-buckets (PROMETHEUS_BR_RAMPUP_DUR_BUCKETS): \"b\" is no number of seconds",
        "--webhook-address (WEBHOOK_ADDRESS): \"8443\" is no address with a port, such as 0.0.0.0:8443",
        "--admission-enabled (ADMISSION_ENABLED): \"no\" is neither true nor false",
        "--tls-min-version (TLS_MIN_VERSION): \"1.2\" is none of VersionTLS10, VersionTLS11, VersionTLS12 and VersionTLS13",
        "--tls-cipher-suites (TLS_CIPHER_SUITES): the webhook's key is an elliptic curve's: one of the suites must begin with TLS_ECDHE_ECDSA_",
        "--buildstrategy-max-concurrent-reconciles (BUILDSTRATEGY_MAX_CONCURRENT_RECONCILES): \"a\" is no whole number",
        "--clusterbuildstrategy-max-concurrent-reconciles (CLUSTERBUILDSTRATEGY_MAX_CONCURRENT_RECONCILES): \"0x10\" is no whole number",
        "--zap-encoder: \"xml\" is none of the values in --help",
        "--log-level (LOG_LEVEL): \"slipway=loud\" is no filter of logs; use error, warn, info, debug or trace",
    ];
    assert_eq!(errors(&session), expected);
    assert_eq!((session.code, session.stdout.as_str()), (Some(1), ""));
    assert_eq!(fs::read_to_string(log).unwrap(), expected.join("\n"));
}

/// As an installation of upstream's may have them.
const OF_UPSTREAM: [(&str, &str); 30] = [
    ("CTX_TIMEOUT", "300"),
    (
        "GIT_CONTAINER_TEMPLATE",
        r#"{"name":"git","image":"ghcr.io/shipwright-io/build/git:latest","command":["/ko-app/git"],"args":["--help"],"env":[{"name":"HOME","value":"/shared-home"},{"name":"GIT_SHOW_LISTING","value":"true"}],"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"runAsUser":1000,"runAsGroup":1000,"readOnlyRootFilesystem":true}}"#,
    ),
    ("GIT_CONTAINER_IMAGE", "ghcr.io/shipwright-io/build/git:v0.18.0"),
    ("BUNDLE_CONTAINER_TEMPLATE", r#"{"command":["/ko-app/bundle"],"imagePullPolicy":"Always"}"#),
    ("BUNDLE_CONTAINER_IMAGE", "ghcr.io/shipwright-io/build/bundle:v0.18.0"),
    (
        "IMAGE_PROCESSING_CONTAINER_TEMPLATE",
        r#"{"image":"","command":["/ko-app/image-processing"],"resources":{"limits":{"memory":"1Gi"}},"workingDir":"/"}"#,
    ),
    ("IMAGE_PROCESSING_CONTAINER_IMAGE", "ghcr.io/shipwright-io/build/image-processing:v0.18.0"),
    ("WAITER_CONTAINER_TEMPLATE", r#"{"args":["start","--lock-file=/shp-tmp/waiter.lock"]}"#),
    ("WAITER_CONTAINER_IMAGE", "ghcr.io/shipwright-io/build/waiter:v0.18.0"),
    ("REMOTE_ARTIFACTS_CONTAINER_IMAGE", "quay.io/quay/busybox:latest"),
    ("GIT_ENABLE_REWRITE_RULE", "True"),
    ("VULNERABILITY_COUNT_LIMIT", "-1"),
    ("BUILDRUN_EXECUTOR", "PipelineRun"),
    ("FORBIDDEN_ENV_VAR_NAMES", ","),
    ("PROMETHEUS_BR_COMP_DUR_BUCKETS", "50,100,150"),
    ("PROMETHEUS_BR_EST_DUR_BUCKETS", "0,1,2.5"),
    ("PROMETHEUS_BR_RAMPUP_DUR_BUCKETS", "0,1,2"),
    ("PROMETHEUS_ENABLED_LABELS", "buildstrategy,namespace,build,buildrun,other"),
    ("BUILD_CONTROLLER_LEADER_ELECTION_NAMESPACE", "shipwright-build"),
    ("BUILD_CONTROLLER_LEASE_DURATION", "15s"),
    ("BUILD_CONTROLLER_RENEW_DEADLINE", "10s"),
    ("BUILD_CONTROLLER_RETRY_PERIOD", "2s"),
    ("BUILD_MAX_CONCURRENT_RECONCILES", "0"),
    ("BUILDRUN_MAX_CONCURRENT_RECONCILES", "5"),
    ("BUILDSTRATEGY_MAX_CONCURRENT_RECONCILES", "1"),
    ("CLUSTERBUILDSTRATEGY_MAX_CONCURRENT_RECONCILES", "1"),
    ("KUBE_API_BURST", "0"),
    ("KUBE_API_QPS", "0"),
    ("WATCH_NAMESPACE", ""),
    ("CONTROLLER_NAME", "shipwright-build"),
];

#[test]
fn what_upstream_takes_is_taken() {
    let log = termination_log("what_upstream_takes");
    let others = [("TERMINATION_LOG_PATH", log.to_str().unwrap()), ("POD_NAME", "pod")];
    let session = controller(
        &["--kubeconfig", "no-such-file", "--zap-log-level=1", "--zap-encoder=json"],
        &[&OF_UPSTREAM[..], &others].concat(),
    );
    // What is left is the cluster that nobody can find.
    assert_eq!((session.code, errors(&session).len()), (Some(3), 1), "{session:?}");
    let known: Vec<&str> = VARIABLES.iter().map(|(variable, _)| *variable).collect();
    for (variable, _) in OF_UPSTREAM.iter().chain(&others) {
        assert!(known.contains(variable), "{variable}");
    }
}

#[test]
fn a_flag_goes_before_its_variable_and_an_empty_text_is_the_default() {
    let empty = ["CTX_TIMEOUT", "KUBE_API_QPS", "BUILDRUN_EXECUTOR", "GIT_CONTAINER_TEMPLATE"];
    let empty = empty.map(|variable| (variable, ""));
    // What is left is the cluster that nobody can find.
    let missing = ["--kubeconfig", "no-such-file"];
    let session = controller(&missing, &empty);
    assert_eq!((session.code, errors(&session).len()), (Some(3), 1), "{session:?}");
    let session = controller(
        &[&missing[..], &["--ctx-timeout=20", "--vulnerability-count-limit", "-1"]].concat(),
        &[("CTX_TIMEOUT", "x")],
    );
    assert_eq!((session.code, errors(&session).len()), (Some(3), 1), "{session:?}");
}

#[test]
fn the_kubelet_gets_the_reason_whatever_keeps_the_controller_from_starting() {
    let log = termination_log("the_kubelet_gets_the_reason");
    let path = log.to_str().unwrap();
    let session = controller(&["--no-such-flag"], &[("TERMINATION_LOG_PATH", path)]);
    assert_eq!(session.code, Some(64));
    assert!(session.stderr.contains("'--no-such-flag'"), "{session:?}");
    assert_eq!(fs::read_to_string(&log).unwrap(), session.stderr);

    let session =
        controller(&["--termination-log-path", path, "--kubeconfig", "/no/such/file"], &[]);
    assert_eq!(session.code, Some(3));
    let reason = fs::read_to_string(&log).unwrap();
    assert!(reason.starts_with("cannot find an API server in /no/such/file: "), "{reason}");
    assert_eq!(errors(&session), [&reason]);

    // Outside of a pod it is made.
    fs::remove_file(&log).unwrap();
    controller(&["--ctx-timeout=x"], &[("TERMINATION_LOG_PATH", path)]);
    let reason = "--ctx-timeout (CTX_TIMEOUT): \"x\" is no whole number";
    assert_eq!(fs::read_to_string(&log).unwrap(), reason);
    let session = controller(&["--ctx-timeout=x", "--termination-log-path=/no/such/file"], &[]);
    assert_eq!(
        errors(&session),
        [
            reason,
            "warning: cannot leave the reason in /no/such/file: No such file or directory (os error 2)"
        ]
    );
}
