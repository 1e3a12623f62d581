//! `slipway run`: a BuildRun from files, on this machine.
//!
//! Invariant: everything that can be refused is refused before an engine is asked for anything.
//! Invariant: whatever was made is removed, also when the run is interrupted; only `--keep` leaves it.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedSender, WeakUnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::console::{self, Console, Manner};
use super::plan::{self, ReadFiles, Refused, RunArguments};
use super::signals::Signals;
use super::{Error, Exit, Format, complain, print_object, print_text};
use crate::Chain;
use crate::api::{BuildRun, Nanoseconds};
use crate::local::{
    self, Commands, Engine, Happening, Lease, LocalError, Missing, Note, Play, Played, Stop,
};
use crate::plan::{DEFAULT_NAMESPACE, Settings, expand, output_image, validate};
use crate::view::run::{Ending, Place, built_image, no_engine_hint};
use crate::working_copy;

pub use crate::view::run::EXAMPLES;

#[derive(Debug, clap::Args)]
pub struct RunHereArguments {
    #[command(flatten)]
    run: RunArguments,
    /// Take the source from this directory instead of where the Build says
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Put the image into the engine instead of pushing it; for strategies that leave it in the output directory
    #[arg(long)]
    load: bool,
    /// Set a parameter of the strategy; repeat a name for the items of an array
    #[arg(long = "param", value_name = "NAME=VALUE")]
    parameters: Vec<String>,
    /// Take a Secret from the files of a directory, each a key; may be repeated
    #[arg(long = "secret", value_name = "NAME=DIR")]
    secrets: Vec<String>,
    /// Image of the step that processes the image; output.vulnerabilityScan needs one that has trivy
    #[arg(long, env = "IMAGE_PROCESSING_CONTAINER_IMAGE", value_name = "IMAGE")]
    image_processing_container_image: Option<String>,
    /// Address of the engine, such as unix:///run/podman/podman.sock; default: DOCKER_HOST, docker's context, the usual sockets
    #[arg(long, value_name = "URL")]
    engine: Option<String>,
    /// Network of the engine for the steps, such as `host` to reach a registry on localhost
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Leave containers and volumes behind for a look at them
    #[arg(long)]
    keep: bool,
    /// Print the BuildRun and its Pod as they are in the end, under `buildrun` and `pod`, in place of IMAGE@DIGEST
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

pub fn run(arguments: &RunHereArguments) -> Result<Exit, Error> {
    let outcome = request(arguments).map_err(Error::Refused).and_then(|request| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        runtime.block_on(here(arguments, request))
    });
    match outcome {
        Err(Error::Refused(refused)) => {
            refused.tell();
            Ok(Exit::Refused)
        }
        Err(Error::Local(LocalError::NoEngine { tried })) => {
            complain(no_engine_hint(&tried).trim_end());
            Ok(Exit::Environment)
        }
        outcome => outcome,
    }
}

/// Files and flags, read and found good.
struct Request {
    files: local::Files,
    buildrun: BuildRun,
    settings: Settings,
    notes: Vec<Note>,
    /// The image that comes of it.
    image: String,
    /// The pod as far as it can be told before any image is here.
    pod: Pod,
}

/// Where image-processing leaves the image for the engine.
const SAVED_IMAGE: &str = "/shp-tmp/image.tar";

fn request(arguments: &RunHereArguments) -> Result<Request, Refused> {
    let ReadFiles { mut files, mut problems, mut notes } = plan::read(&arguments.run.files)?;
    let chosen = local::choose_run(&files, arguments.run.buildrun.as_deref(), Timestamp::now());
    let mut buildrun = match chosen {
        Ok(buildrun) => buildrun,
        Err(error) => {
            problems.push(error.to_string());
            return Err(Refused { problems, notes });
        }
    };
    problems.extend(set_up(arguments, &mut files, &mut buildrun, &mut notes));
    let mut settings = Settings::default();
    if let Some(image) =
        arguments.image_processing_container_image.as_ref().filter(|i| !i.is_empty())
    {
        settings.image_processing.image.clone_from(image);
    }
    if arguments.load {
        local::keep_image_here(&mut files, &mut buildrun);
        settings.save_image = Some(SAVED_IMAGE.into());
    }
    // What the images run is looked up once they are here, and judged then.
    let chosen = local::load(&files, buildrun.clone(), Missing::Absent, Commands::Assumed);
    let image = output_image(&chosen.loaded.roots).unwrap_or_default();
    match validate(&chosen.loaded, &settings) {
        Ok(checked) => {
            let pod = expand(&checked).pod;
            if arguments.load && !saves_image(&pod) {
                problems.push("--load: the strategy pushes its image itself; only an image that it leaves in $(params.shp-output-directory) can be loaded".into());
            }
            if problems.is_empty() {
                return Ok(Request { files, buildrun, settings, notes, image, pod });
            }
        }
        Err(refusals) => {
            problems.extend(refusals.into_iter().map(|refusal| plan::line(&files.locate(refusal))));
        }
    }
    Err(Refused { problems, notes })
}

/// Takes what the flags say about the run into it; what is wrong with them, one line each.
fn set_up(
    arguments: &RunHereArguments,
    files: &mut local::Files,
    buildrun: &mut BuildRun,
    notes: &mut Vec<Note>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let namespace = buildrun.metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.into());
    for argument in &arguments.secrets {
        let secret = local::secret_argument(argument).and_then(|(name, directory)| {
            Ok((local::secret_from_directory(&name, &directory)?, name))
        });
        match secret {
            Ok(((facts, content), name)) => {
                notes.extend(files.add_secret(&namespace, &name, facts, content));
            }
            Err(error) => problems.push(Chain(&error).to_string()),
        }
    }
    let mut parameters = Vec::new();
    for argument in &arguments.parameters {
        match local::parameter_argument(argument) {
            Ok(parameter) => parameters.push(parameter),
            Err(error) => problems.push(error.to_string()),
        }
    }
    if let Err(error) = local::set_parameters(files, buildrun, &parameters) {
        problems.push(error.to_string());
    }
    if let Some(directory) = &arguments.source {
        if !directory.is_dir() {
            problems.push(format!("--source {}: is no directory", directory.display()));
        }
        let faults = working_copy::ignore_faults(directory).into_iter();
        problems.extend(faults.map(|fault| format!("--source: {}", Chain(&fault))));
        local::take_working_copy(files, buildrun);
    }
    problems
}

/// Whether image-processing leaves the image where it can be loaded from.
fn saves_image(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.flat_map(|container| container.args.iter().flatten()).any(|word| word == SAVED_IMAGE)
}

async fn here(arguments: &RunHereArguments, request: Request) -> Result<Exit, Error> {
    let (tell, news) = unbounded_channel();
    let stop = stop_on_signals(Signals::caught()?, tell.downgrade());
    let mut stopped = stop.clone();
    let (engine, lease, left) = tokio::select! {
        begun = begin(arguments.engine.as_deref()) => begun?,
        _ = stopped.wait_for(|stop| *stop != Stop::No) => return Err(Error::Interrupted),
    };
    let notes = request.notes.iter().map(|Note(note)| note.clone());
    for note in notes.chain(left) {
        drop(tell.send(Happening::Note(note)));
    }
    let console = Console::new(&request.pod, std::io::stderr(), Manner::of_stderr());
    let shown = console::show(console, news);
    let image = request.image.clone();
    let mut buildrun = request.buildrun.clone();
    let played = Box::pin(play(arguments, request, &engine, &lease, &tell, stop)).await;
    drop(tell);
    let kept = arguments.keep.then(|| lease.label());
    // Whoever pauses the log holds up the end of it alone.
    let (cleared, console) = tokio::join!(give_back(arguments, lease, &engine), shown);
    let console = console.map_err(|error| Error::Runtime(error.into()))?;
    // Without an ending it clears its lines, so that errors stand alone.
    let outcome = played.and_then(|played| {
        ended(arguments, console, &image, kept.as_deref(), &mut buildrun, &played)
    });
    if let Err(error) = cleared {
        complain(&format!(
            "warning: something of this run may be left, which the next one removes: {}",
            Chain(&error)
        ));
    }
    outcome
}

/// The engine, and the right to use it; with what could not be removed of earlier runs.
async fn begin(engine: Option<&str>) -> Result<(Engine, Lease, Option<String>), LocalError> {
    let engine = Engine::find(engine).await?;
    let lease = Lease::take()?;
    let left = lease.clear_stale(&engine).await.err().map(|error| {
        format!("what runs that were killed left behind cannot be removed: {}", Chain(&error))
    });
    Ok((engine, lease, left))
}

async fn give_back(
    arguments: &RunHereArguments,
    lease: Lease,
    engine: &Engine,
) -> Result<(), LocalError> {
    if arguments.keep { lease.keep(engine) } else { lease.clear(engine).await }
}

/// Tells how it ended.
fn ended(
    arguments: &RunHereArguments,
    console: Console<std::io::Stderr>,
    image: &str,
    kept: Option<&str>,
    buildrun: &mut BuildRun,
    played: &Played,
) -> Result<Exit, Error> {
    let status = &played.verdict.status;
    let loaded = arguments.load;
    console.finish(&Ending {
        status,
        pod: &played.pod,
        image,
        place: Place::Here { loaded, kept },
    });
    if let Some(format) = arguments.output {
        buildrun.status = Some(status.clone());
        let ended = json!({ "buildrun": buildrun, "pod": played.pod });
        print_object("the BuildRun and its Pod", &ended, format)?;
    }
    if !status.has_succeeded() {
        return Ok(Exit::Failed);
    }
    // The engine knows it by its name, a registry best by its digest.
    let line = if loaded { Some(image.to_owned()) } else { built_image(image, status) };
    if let Some(line) = line.filter(|_| arguments.output.is_none()) {
        print_text(&format!("{line}\n"))?;
    }
    Ok(Exit::Done)
}

async fn play(
    arguments: &RunHereArguments,
    request: Request,
    engine: &Engine,
    lease: &Lease,
    tell: &UnboundedSender<Happening>,
    stop: watch::Receiver<Stop>,
) -> Result<Played, Error> {
    let Request { files, mut buildrun, settings, pod, .. } = request;
    let started = Timestamp::now();
    let seconds = pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
    let timeout = Nanoseconds(seconds.unwrap_or_default().saturating_mul(1_000_000_000));
    let fetched =
        local::fetch_images(engine, &pod, &mut buildrun, timeout, started, tell, stop.clone());
    let images = match fetched.await? {
        Ok(images) => images,
        Err(played) => return Ok(played),
    };
    let commands =
        images.iter().map(|(name, image)| (name.clone(), image.command.clone())).collect();
    let commands = Commands::Known(&commands);
    let chosen = local::load(&files, buildrun.clone(), Missing::Absent, commands);
    let checked = validate(&chosen.loaded, &settings).map_err(|refusals| {
        let lines = refusals.into_iter().map(|refusal| plan::line(&files.locate(refusal)));
        Error::Refused(Refused { problems: lines.collect(), notes: Vec::new() })
    })?;
    let play = Play {
        pod: expand(&checked).pod,
        buildrun,
        timeout,
        started,
        contents: files.contents,
        images,
        source: arguments.source.clone(),
        load: settings.save_image,
        network: arguments.network.clone(),
    };
    Ok(Box::pin(local::play(engine, lease, play, tell, stop)).await?)
}

/// The first signal asks for an end, the second one wants it at once, the third one waits for nobody.
fn stop_on_signals(
    mut signals: Signals,
    tell: WeakUnboundedSender<Happening>,
) -> watch::Receiver<Stop> {
    let (sender, receiver) = watch::channel(Stop::No);
    tokio::spawn(async move {
        for (stop, note) in [
            (
                Stop::Asked,
                "interrupted: the steps have 30 seconds to end; once more ends them at once",
            ),
            (
                Stop::Now,
                "interrupted again: ending the steps at once; once more leaves what is there to the next run",
            ),
        ] {
            signals.next().await;
            // Nobody cares once the run has ended.
            let _ = sender.send(stop);
            drop(tell.upgrade().map(|tell| tell.send(Happening::Note(note.into()))));
        }
        signals.next().await;
        complain("warning: gone without removing anything; the next slipway run does");
        std::process::exit(Exit::Failed.code().into());
    });
    receiver
}
