//! Everything about one run in one archive, for whoever helps.
//!
//! Invariant: no Secret is asked for; what names one in Build, run, strategy or pod is in there as it was written.
//! Invariant: what cannot be had is named in the archive, and does not keep the rest from coming.
//! Invariant: logs go through a file: memory does not grow with them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek as _, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::AsyncBufReadExt as _;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt as _};
use serde::Serialize;
use serde_json::{Value, json};
use tar::{Builder, Header};
use tempfile::NamedTempFile;

use super::objects::without_bookkeeping;
use super::observed::pods;
use super::{Cluster, ClusterError};
use crate::Chain;
use crate::api::{Build, BuildRun, BuildStrategy, ClusterBuildStrategy};
use crate::plan::labels::POD_ANNOTATION;

/// What became of the gathering.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The files of the archive.
    pub files: Vec<String>,
    /// What is not there any more, or has not been yet.
    pub gone: Vec<String>,
    /// What could not be had, and why.
    pub failed: Vec<String>,
}

/// Writes the archive to the path, only as a whole. `texts` are files that come from somewhere else, or why they do not.
pub async fn gather(
    cluster: &Cluster,
    run: &BuildRun,
    path: &Path,
    texts: Vec<(&str, Result<String, String>)>,
) -> Result<Gathered, ClusterError> {
    let broken = |source| ClusterError::Archive { path: path.display().to_string(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let file = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(broken)?;
    let archive = Builder::new(GzEncoder::new(file, Compression::default()));
    let mut gatherer =
        Gatherer { cluster, root: run.name_any(), archive, found: Gathered::default() };
    gatherer.all(run, texts).await.map_err(broken)?;
    let Gatherer { archive, found, .. } = gatherer;
    let file = archive.into_inner().and_then(GzEncoder::finish).map_err(broken)?;
    file.persist(path).map_err(|error| broken(error.error))?;
    Ok(found)
}

struct Gatherer<'a> {
    cluster: &'a Cluster,
    /// The folder of everything.
    root: String,
    archive: Builder<GzEncoder<NamedTempFile>>,
    found: Gathered,
}

impl Gatherer<'_> {
    async fn all(
        &mut self,
        run: &BuildRun,
        texts: Vec<(&str, Result<String, String>)>,
    ) -> io::Result<()> {
        let status = run.status.clone().unwrap_or_default();
        self.object("buildrun.yaml", BuildRun::KIND, run)?;
        let mut of_events = BTreeSet::from([field("uid", run.uid())]);
        // What counts is the Build as it was when the run started; a run that is refused has none of it.
        let mut spec = status.build_spec.or_else(|| run.spec.build.spec.clone());
        if let Some(name) = &run.spec.build.name {
            let build = self.cluster.get::<Build>(name).await;
            if let Some(build) = self.take(&format!("Build {name}"), build) {
                of_events.insert(field("uid", build.uid()));
                self.object("build.yaml", Build::KIND, &build)?;
                spec = spec.or(Some(build.spec));
            }
        }
        if let Some(spec) = &spec {
            let name = &spec.strategy.name;
            if spec.strategy.kind.as_deref() == Some(ClusterBuildStrategy::KIND) {
                let api = Api::<ClusterBuildStrategy>::all(self.cluster.client.clone());
                let kind = ClusterBuildStrategy::KIND;
                let what = format!("{kind} {name}");
                match api.get_opt(name).await {
                    Ok(Some(strategy)) => self.object("strategy.yaml", kind, &strategy)?,
                    Ok(None) => self.found.gone.push(format!("{what} is not there")),
                    Err(error) => self.failed(&what, error),
                }
            } else {
                let strategy = self.cluster.get::<BuildStrategy>(name).await;
                if let Some(strategy) = self.take(&format!("BuildStrategy {name}"), strategy) {
                    self.object("strategy.yaml", BuildStrategy::KIND, &strategy)?;
                }
            }
        }
        let of_run = pods(self.cluster, &self.root).await;
        let of_run = self.take("the pods", of_run).unwrap_or_default();
        let named = run.annotations().get(POD_ANNOTATION);
        if let Some(name) = named.filter(|name| of_run.iter().all(|pod| pod.name_any() != **name)) {
            self.found.gone.push(format!("pod {name} is not there any more, nor are its logs"));
            of_events.insert(field("name", Some(name.clone())));
        } else if named.is_none() && of_run.is_empty() {
            self.found.gone.push("the run has no pod".into());
        }
        for pod in &of_run {
            of_events.insert(field("uid", pod.uid()));
            let name = pod.name_any();
            self.object(&format!("pods/{name}.yaml"), "Pod", pod)?;
            for container in containers(pod) {
                self.log(&name, &container).await?;
            }
        }
        self.events(of_events).await?;
        for (name, text) in texts {
            match text {
                Ok(text) => self.file(name, text.as_bytes())?,
                Err(why) => self.found.failed.push(format!("{name}: {why}")),
            }
        }
        self.contents()
    }

    /// What was asked for, where it came.
    fn take<T>(&mut self, what: &str, found: Result<T, ClusterError>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(ClusterError::NotFound { .. }) => {
                self.found.gone.push(format!("{what} is not there"));
                None
            }
            Err(error) => {
                self.found.failed.push(format!("{what}: {}", Chain(&error)));
                None
            }
        }
    }

    fn failed(&mut self, what: &str, error: kube::Error) {
        let error = ClusterError::of(format!("get {what}"), error);
        self.found.failed.push(format!("{what}: {}", Chain(&error)));
    }

    async fn log(&mut self, pod: &str, container: &str) -> io::Result<()> {
        let parameters = LogParams {
            container: Some(container.to_owned()),
            timestamps: true,
            ..LogParams::default()
        };
        let what = format!("log of {container} of pod {pod}");
        let api: Api<Pod> = self.cluster.api();
        let mut stream = match api.log_stream(pod, &parameters).await {
            Ok(stream) => stream,
            Err(kube::Error::Api(response)) if [400, 404].contains(&response.code) => {
                self.found.gone.push(format!("{what}: {}", response.message));
                return Ok(());
            }
            Err(error) => {
                self.failed(&what, error);
                return Ok(());
            }
        };
        let mut spool = tempfile::tempfile()?;
        let mut length: u64 = 0;
        loop {
            let count = match stream.fill_buf().await {
                Ok(bytes) => {
                    spool.write_all(bytes)?;
                    bytes.len()
                }
                Err(error) => {
                    self.found.failed.push(format!("{what} breaks off: {error}"));
                    0
                }
            };
            if count == 0 {
                break;
            }
            stream.consume_unpin(count);
            length += count as u64;
        }
        spool.rewind()?;
        self.append(&format!("logs/{pod}/{container}.log"), length, spool)
    }

    async fn events(&mut self, of: BTreeSet<String>) -> io::Result<()> {
        let api: Api<Event> = self.cluster.api();
        let mut events = BTreeMap::new();
        for fields in of {
            match api.list(&ListParams::default().fields(&fields)).await {
                Ok(list) => {
                    let list = list.items.into_iter().map(|event| (event.uid(), event));
                    events.extend(list);
                }
                Err(error) => {
                    self.failed("events", error);
                    break;
                }
            }
        }
        let mut events: Vec<_> = events.into_values().collect();
        events.sort_by_key(|event| event.metadata.creation_timestamp.clone());
        let items: Vec<_> =
            events.iter().map(|event| described("Event", "v1", json!(event))).collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        self.yaml("events.yaml", &list)
    }

    /// What is in the archive, and what is not.
    fn contents(&mut self) -> io::Result<()> {
        let list = |title: &str, lines: &[String]| {
            let lines: Vec<_> = lines.iter().map(|line| format!("  {line}\n")).collect();
            if lines.is_empty() { String::new() } else { format!("\n{title}\n{}", lines.concat()) }
        };
        let Gathered { files, gone, failed } = &self.found;
        let text = format!(
            "BuildRun {} in namespace {} of {}\ngathered at {} by slipway {}\n{}{}{}",
            self.root,
            self.cluster.namespace,
            self.cluster.server,
            Timestamp::now(),
            env!("CARGO_PKG_VERSION"),
            list("Files:", files),
            list("Not there:", gone),
            list("Could not be had:", failed),
        );
        self.file("contents.txt", text.as_bytes())
    }

    fn object(&mut self, path: &str, kind: &str, object: &impl Serialize) -> io::Result<()> {
        let version = if kind == "Pod" { "v1" } else { crate::api::API_VERSION };
        self.yaml(path, &described(kind, version, json!(object)))
    }

    fn yaml(&mut self, path: &str, value: &Value) -> io::Result<()> {
        let text = serde_saphyr::to_string(value).map_err(io::Error::other)?;
        self.file(path, text.as_bytes())
    }

    fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.append(path, content.len() as u64, content)
    }

    fn append(&mut self, path: &str, length: u64, content: impl Read) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(length);
        header.set_mode(0o644);
        header.set_mtime(u64::try_from(Timestamp::now().as_second()).unwrap_or_default());
        let whole = format!("{}/{path}", self.root);
        self.archive.append_data(&mut header, whole, content)?;
        self.found.files.push(path.to_owned());
        Ok(())
    }
}

fn field(of: &str, value: Option<String>) -> String {
    format!("involvedObject.{of}={}", value.unwrap_or_default())
}

fn described(kind: &str, version: &str, mut object: Value) -> Value {
    object["apiVersion"] = version.into();
    object["kind"] = kind.into();
    without_bookkeeping(object)
}

/// Names of all containers, in their order.
fn containers(pod: &Pod) -> Vec<String> {
    let spec = pod.spec.iter();
    let all = spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    all.map(|container| container.name.clone()).collect()
}
