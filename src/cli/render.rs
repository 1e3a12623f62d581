//! `slipway render`: the Pod of a run, from files or from a cluster.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::plan::{PlanArguments, plan, tell};
use super::{Error, Exit, Format, print_object};
use crate::local::Commands;
use crate::plan::Expansion;

pub const EXAMPLES: &str = "\
Examples:
  slipway render -f samples/hello
  slipway render -f strategy.yaml build.yaml run.yaml -o json
  kustomize build . | slipway render -f - --buildrun nightly | kubectl apply -f -
  slipway render --from-cluster app                    the Build app of the current namespace
  slipway render --from-cluster app -f strategy.yaml   the same with a strategy that is not applied yet

What the files do not hold (Secrets, ConfigMaps, ServiceAccounts) is assumed to exist and listed on standard error. With --from-cluster it is looked up: what the cluster does not have is missing.";

#[derive(Debug, clap::Args)]
pub struct RenderArguments {
    #[command(flatten)]
    run: PlanArguments,
    /// How to print
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Format,
}

pub fn render(arguments: &RenderArguments) -> Result<Exit, Error> {
    // A pod without the command of a step would be another than the cluster's.
    let planned = plan(&arguments.run, Commands::Known(&BTreeMap::new()))?;
    tell(&planned.notes);
    print_object("the Pod", &document(&planned.expansion), arguments.output)?;
    Ok(Exit::Done)
}

/// The pod, with the account that is made for it where there is one.
fn document(expansion: &Expansion) -> Value {
    let pod = json!(expansion.pod);
    match &expansion.service_account {
        None => pod,
        Some(account) => json!({ "apiVersion": "v1", "kind": "List", "items": [account, pod] }),
    }
}
