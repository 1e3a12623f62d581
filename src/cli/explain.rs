//! `slipway explain`: as whom the containers of a run act and what they may do, from files or from a cluster.

use super::plan::{PlanArguments, plan, tell};
use super::{Error, Exit, Format, ReportFormat, print_object, print_text};
use crate::local::Commands;
use crate::plan::explain::explain as explain_run;
use crate::view;

pub const EXAMPLES: &str = "\
Examples:
  slipway explain -f samples/hello
  slipway explain -f strategy.yaml build.yaml namespace.yaml
  slipway explain -f . --buildrun nightly -o json | jq '.podSecurityLevel'
  slipway explain --from-cluster buildrun/app-7xk2p

A Namespace in the files counts with its label pod-security.kubernetes.io/enforce. That it would refuse the pod is told and does not change the exit code.
Origins are step, strategy, template (of a supporting step), namespace, slipway, image and kubelet's default; ids that only the image knows are null in JSON.";

#[derive(Debug, clap::Args)]
pub struct ExplainArguments {
    #[command(flatten)]
    run: PlanArguments,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: ReportFormat,
}

pub fn explain(arguments: &ExplainArguments) -> Result<Exit, Error> {
    let planned = plan(&arguments.run, Commands::Assumed)?;
    tell(&planned.notes);
    let explanation = explain_run(&planned.checked);
    match arguments.output {
        ReportFormat::Text => print_text(&view::explain(&explanation))?,
        ReportFormat::Json => print_object("the explanation", &explanation, Format::Json)?,
        ReportFormat::Yaml => print_object("the explanation", &explanation, Format::Yaml)?,
    }
    Ok(Exit::Done)
}
