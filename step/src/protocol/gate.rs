//! `slipway-step gate`: one step's turn.

use super::args::Args;

/// How the gate treats one step's command.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct GateCommand {
    /// This step's own run directory: locked from start to end, and where its markers are left
    #[arg(long, value_name = "DIR")]
    pub run_dir: String,
    /// Run directory of the step before, which must end well first
    #[arg(long, value_name = "DIR")]
    pub after: Option<String>,
    /// Run directory of another step that must have started before the command runs
    #[arg(long = "await-started", value_name = "DIR")]
    pub await_started: Vec<String>,
    /// Directory in which the command runs
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub workdir: Option<String>,
    /// Bytes that the report of results may take
    #[arg(long, value_name = "BYTES", default_value_t = super::results::MAX_REPORT)]
    pub budget: usize,
    /// A result that the step may leave, by name
    #[arg(long = "result", value_name = "NAME")]
    pub results: Vec<String>,
    /// A secret with credentials for the command's `$HOME`
    #[arg(long = "credential", value_name = "KIND:SECRET[=TARGET]")]
    pub credentials: Vec<Credential>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

impl GateCommand {
    /// The arguments behind the program's name, `--` and the command included.
    pub fn to_args(&self) -> Vec<String> {
        let mut args = Args::new("gate")
            .value("run-dir", &self.run_dir)
            .optional("after", self.after.as_deref())
            .each("await-started", self.await_started.iter().cloned())
            .optional("workdir", self.workdir.as_deref())
            .value("budget", self.budget.to_string())
            .each("result", self.results.iter().cloned())
            .each("credential", self.credentials.iter().map(ToString::to_string))
            .plain("--")
            .done();
        args.extend(self.command.iter().cloned());
        args
    }
}

/// One secret below [`super::CREDENTIALS_SECRETS_DIR`] and what it is good for, as
/// `docker-config:SECRET`, `dockercfg:SECRET`, `docker-basic:SECRET=REGISTRY`, `git-basic:SECRET=URL` or `git-ssh:SECRET=HOST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Type `kubernetes.io/dockerconfigjson`.
    DockerConfig { secret: String },
    /// Type `kubernetes.io/dockercfg`.
    Dockercfg { secret: String },
    /// Type `kubernetes.io/basic-auth` with an annotation `tekton.dev/docker-*`.
    DockerBasic { secret: String, registry: String },
    /// Type `kubernetes.io/basic-auth` with an annotation `tekton.dev/git-*`.
    GitBasic { secret: String, url: String },
    /// Type `kubernetes.io/ssh-auth` with an annotation `tekton.dev/git-*`.
    GitSsh { secret: String, host: String },
}

impl Credential {
    /// Name of the secret.
    pub fn secret(&self) -> &String {
        match self {
            Self::DockerConfig { secret }
            | Self::Dockercfg { secret }
            | Self::DockerBasic { secret, .. }
            | Self::GitBasic { secret, .. }
            | Self::GitSsh { secret, .. } => secret,
        }
    }
}

impl std::fmt::Display for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DockerConfig { secret } => write!(f, "docker-config:{secret}"),
            Self::Dockercfg { secret } => write!(f, "dockercfg:{secret}"),
            Self::DockerBasic { secret, registry } => write!(f, "docker-basic:{secret}={registry}"),
            Self::GitBasic { secret, url } => write!(f, "git-basic:{secret}={url}"),
            Self::GitSsh { secret, host } => write!(f, "git-ssh:{secret}={host}"),
        }
    }
}

/// A `--credential` that names no known kind, no secret or no target.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected docker-config:SECRET, dockercfg:SECRET, docker-basic:SECRET=REGISTRY, git-basic:SECRET=URL or git-ssh:SECRET=HOST"
)]
pub struct UnknownCredential;

impl std::str::FromStr for Credential {
    type Err = UnknownCredential;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, rest) = text.split_once(':').ok_or(UnknownCredential)?;
        let alone =
            |rest: &str| (!rest.is_empty()).then(|| rest.to_owned()).ok_or(UnknownCredential);
        let pair = |rest: &str| {
            rest.split_once('=')
                .filter(|(secret, target)| !secret.is_empty() && !target.is_empty())
                .map(|(secret, target)| (secret.to_owned(), target.to_owned()))
                .ok_or(UnknownCredential)
        };
        Ok(match kind {
            "docker-config" => Self::DockerConfig { secret: alone(rest)? },
            "dockercfg" => Self::Dockercfg { secret: alone(rest)? },
            "docker-basic" => {
                pair(rest).map(|(secret, registry)| Self::DockerBasic { secret, registry })?
            }
            "git-basic" => pair(rest).map(|(secret, url)| Self::GitBasic { secret, url })?,
            "git-ssh" => pair(rest).map(|(secret, host)| Self::GitSsh { secret, host })?,
            _ => return Err(UnknownCredential),
        })
    }
}
