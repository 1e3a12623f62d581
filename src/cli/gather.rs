//! `slipway gather`: everything about a BuildRun on a cluster in one file.

use std::path::PathBuf;

use serde_json::json;

use super::cluster_arguments::{ClusterArguments, block_on};
use super::objects::{Objects, Secrets, document, from_cluster};
use super::plan::{Refused, judge};
use super::{Error, Exit, complain, print_text};
use crate::Chain;
use crate::api::{API_VERSION, Build, BuildRun};
use crate::cluster::client::{Cluster, gather as collect};
use crate::local::Commands;
use crate::plan::explain::explain;
use crate::view::{self, one_line};

pub const EXAMPLES: &str = "\
Examples:
  slipway gather app-7xk2p                     writes app-7xk2p.tar.gz
  slipway gather -n team -o /tmp/run.tar.gz app-7xk2p
  tar -xOf app-7xk2p.tar.gz app-7xk2p/contents.txt

The archive holds BuildRun, Build, strategy and pods as YAML, the log of every container with times, the events, what slipway explain tells of the run, and contents.txt, which lists it all and what could not be had.
No Secret is asked for: where one is named it is assumed to be there. Logs and variables are in there as they are: look whether a step printed what nobody else should see.
The exit code is 3 where something could not be had, such as for want of rights; the archive is written all the same. What is not there any more, such as a pod that was removed, is named and does not count.";

#[derive(Debug, clap::Args)]
pub struct GatherArguments {
    /// Name of the BuildRun
    #[arg(value_name = "BUILDRUN")]
    run: String,
    /// File to write; by default BUILDRUN.tar.gz
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArguments,
}

pub fn gather(arguments: &GatherArguments) -> Result<Exit, Error> {
    let name = &arguments.run;
    let path = arguments.output.clone().unwrap_or_else(|| format!("{name}.tar.gz").into());
    let gathered = block_on(async {
        let cluster = arguments.cluster.find().await?;
        let run = cluster.buildrun(name).await?;
        let identity = identity(&cluster, &run).await;
        Ok(collect(&cluster, &run, &path, vec![("identity.txt", identity)]).await?)
    })?;
    for gone in &gathered.gone {
        complain(&format!("note: {}", one_line(gone)));
    }
    for failed in &gathered.failed {
        complain(&format!("error: {}", one_line(failed)));
    }
    print_text(&format!("{}\n", path.display()))?;
    Ok(if gathered.failed.is_empty() { Exit::Done } else { Exit::Environment })
}

/// What `slipway explain` tells of the run, with its Build as it was when it started.
async fn identity(cluster: &Cluster, run: &BuildRun) -> Result<String, String> {
    let mut objects = Objects::default();
    let mut own = json!(run);
    own["apiVersion"] = API_VERSION.into();
    own["kind"] = BuildRun::KIND.into();
    if let Some(fields) = own.as_object_mut() {
        fields.remove("status");
    }
    objects.documents.push(document(own));
    let spec = run.status.as_ref().and_then(|status| status.build_spec.as_ref());
    if let (Some(spec), Some(name)) = (spec, &run.spec.build.name) {
        let metadata = json!({ "name": name, "namespace": cluster.namespace });
        let build = json!({
            "apiVersion": API_VERSION, "kind": Build::KIND, "metadata": metadata, "spec": spec,
        });
        objects.documents.push(document(build));
    }
    let objects = from_cluster(cluster, &[], objects, Secrets::Assumed).await;
    let objects = objects.map_err(|error| Chain(&error).to_string())?;
    let text = match judge(objects, None, Commands::Assumed) {
        Ok(planned) => {
            let notes = planned.notes.iter().map(|note| format!("note: {}\n", one_line(&note.0)));
            format!("{}{}", notes.collect::<String>(), view::explain(&explain(&planned.checked)))
        }
        Err(Refused { problems, .. }) => {
            let problems = problems.iter().map(|problem| format!("{}\n", one_line(problem)));
            format!("The run is refused now:\n{}", problems.collect::<String>())
        }
    };
    Ok(format!(
        "With the settings of a controller that has none of its own, and the strategy as it is now.\n\n{text}"
    ))
}
