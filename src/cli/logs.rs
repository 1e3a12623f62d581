//! `slipway logs`: what the steps of a BuildRun on a cluster print, and what becomes of it.

use super::cluster_arguments::{ClusterArguments, block_on};
use super::teller::{Lines, end, tell, told};
use super::{Error, Exit};
use crate::cluster::client::{Following, follow};

pub const EXAMPLES: &str = "\
Examples:
  slipway logs app-7xk2p                 what there is now, of all steps in their order
  slipway logs -f app-7xk2p              until the run ends, from wherever it is now
  slipway logs -f --step build app-7xk2p > build.log
  slipway logs -n team --context prod app-7xk2p

Standard output gets the lines of the steps, each with the step's name in front; all else goes to standard error: how steps go on, why one does not start, the table of steps and the verdict at the end.
The exit code is that of the run: 0 built, 1 failed or canceled, 2 refused, so that it never had a pod; 0 as well where it has not ended.
Broken connections are made anew for five minutes, without a line lost or told twice.";

#[derive(Debug, clap::Args)]
pub struct LogsArguments {
    /// Name of the BuildRun
    #[arg(value_name = "BUILDRUN")]
    run: String,
    /// Go on until the run ends; wait for its pod where it has none yet
    #[arg(short, long)]
    follow: bool,
    /// Only this step; may be repeated
    #[arg(long = "step", value_name = "NAME")]
    steps: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArguments,
}

pub fn logs(arguments: &LogsArguments) -> Result<Exit, Error> {
    block_on(async {
        let cluster = arguments.cluster.find().await?;
        let (sender, telling) = tell(Lines::Wanted, arguments.follow);
        let following = Following {
            run: arguments.run.clone(),
            steps: arguments.steps.clone(),
            follow: arguments.follow,
        };
        let ended = Box::pin(follow(&cluster, &following, &sender)).await;
        drop(sender);
        told(telling).await?;
        Ok(end(&cluster, &ended?))
    })
}
