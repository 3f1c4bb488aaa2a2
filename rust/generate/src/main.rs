//! `streamify-generate`: reads the command line, wires the parts, prints, and turns errors into exit codes.

mod destination;
mod progress;
mod stats_command;

use std::{
    error::Error,
    fs,
    io::{self, Write},
    process::ExitCode as ProcessExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;
use streamify_generate::{
    broker::{self, BrokerError, BrokerFile, BrokerHome, Status},
    catalogue::{TrackFile, TrackFileError},
    checkpoint::{Checkpoint, CheckpointError, CheckpointLock},
    cli::{BrokerCommand, Cli, Command, RunArgs, Window, show_time},
    faults::{self, plan::Plan},
    process,
    profile::{BUILTIN, Profile, ProfileError},
    run::{self, Delivery, Keep},
    simulation::Simulation,
    sink::SinkError,
    stats::input::InputError,
    truth::Truth,
};
use streamify_runtime::{ExitCode, LogFormat, init_telemetry, report, shutdown_token};
use tracing::{info, warn};

use crate::{destination::NoDestination, progress::Progress};

/// Takes the place of the C library's allocator, for librdkafka too: a record is allocated on one thread and freed on another.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A problem with what the user asked for, as opposed to one on the way.
#[derive(Debug)]
struct BadSettings(anyhow::Error);

impl std::fmt::Display for BadSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Error for BadSettings {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.chain().nth(1)
    }
}

fn bad_settings(error: impl Into<anyhow::Error>) -> anyhow::Error {
    BadSettings(error.into()).into()
}

fn main() -> ProcessExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(code) => code.into(),
        Err(error) => {
            report::print_error(error.as_ref(), hint(&error));
            let is_bad = error.is::<BadSettings>();
            if is_bad { ExitCode::BadSettings.into() } else { ExitCode::Failure.into() }
        }
    }
}

fn hint(error: &anyhow::Error) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<SinkError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<InputError>() {
        return error.hint();
    }
    if let Some(BadSettings(error)) = error.downcast_ref::<BadSettings>() {
        if error.is::<NoDestination>() {
            return Some(
                "start the embedded broker with `streamify-generate broker start`, or name a destination with `--out` \
                 or `--bootstrap-servers`",
            );
        }
        if let Some(error) = error.downcast_ref::<SinkError>() {
            return error.hint();
        }
        if let Some(CheckpointError::InUse { .. }) = error.downcast_ref() {
            return Some("stop the other run, or name another file with `--checkpoint`");
        }
        if error.is::<CheckpointError>() {
            return Some(
                "name another file with `--checkpoint` to begin a new run, or repeat the settings of the old one",
            );
        }
        if let Some(error) = error.downcast_ref::<InputError>() {
            return error.hint();
        }
        if error.is::<TrackFileError>() {
            return Some("`streamify-generate run --help` tells the format under `--tracks`");
        }
        if error.is::<ProfileError>() {
            return Some(
                "`streamify-generate profile` prints the built-in profile, with the format in its first lines",
            );
        }
    }
    match error.downcast_ref::<BrokerError>() {
        Some(BrokerError::AlreadyRunning { .. }) => Some("`streamify-generate broker status` shows it"),
        _ => None,
    }
}

fn start(cli: Cli) -> Result<ExitCode> {
    init_telemetry(LogFormat::Human, None, None).map_err(bad_settings)?;
    match cli.command {
        Command::Run(args) => generate(&args),
        Command::Stats(args) => stats_command::stats(&args),
        Command::Broker { command } => broker(command),
        Command::Faults => print(&faults::list::text()),
        Command::Profile { name } => {
            let text = BUILTIN.iter().find(|(builtin, _)| *builtin == name).map(|(_, text)| *text);
            // Loading gives the error that lists what there is.
            if text.is_none() {
                Profile::builtin(&name).map_err(bad_settings)?;
            }
            print(text.unwrap_or_default())
        }
    }
}

fn print(text: &str) -> Result<ExitCode> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("failed to write to stdout")?;
    Ok(ExitCode::Done)
}

fn generate(args: &RunArgs) -> Result<ExitCode> {
    args.check().map_err(bad_settings)?;
    let now_ms = chrono::Utc::now().timestamp_millis();
    let mut profile = args.load_profile().map_err(bad_settings)?;
    if let Some(path) = &args.output.tracks {
        profile.use_tracks(TrackFile::load(path, args.output.tracks_encoding).map_err(bad_settings)?);
    }
    for key in &profile.suggestions.ignored {
        warn!(key, profile = args.profile, "key of the configuration means nothing and is ignored");
    }
    // Held to the end of the run.
    let _lock =
        args.pacing.checkpoint.as_deref().map(CheckpointLock::take).transpose().map_err(bad_settings)?;
    let resumed = resume(args)?;
    let settings = args.settings(profile, now_ms, resumed.as_ref().map(|checkpoint| &checkpoint.run));
    let settings = settings.map_err(bad_settings)?;
    if let (Some(checkpoint), Some(path)) = (&resumed, &args.pacing.checkpoint) {
        checkpoint.check(path, &settings).map_err(bad_settings)?;
    }
    let window = Window { start_ms: settings.start_ms, end_ms: settings.end_ms };
    if window.reaches_into_the_future(args.pace(), now_ms) {
        warn!("event times will reach a day or more into the future, which readers may refuse");
    }
    let stop = shutdown_token()?;
    let mark = resumed.as_ref().map(|checkpoint| &checkpoint.sink);
    let plan = args.faults.plan(window, now_ms).map_err(bad_settings)?;
    let mut truth = truth(args, &settings.run_id())?;
    let (mut sink, place) = destination::open(args, &settings, mark, &stop)?;
    let mut progress = Progress::new(settings.num_users, settings.start_ms, settings.end());
    progress.preparing();
    let (state, before) = resumed.map(|checkpoint| (checkpoint.state, checkpoint.progress)).unzip();
    let delivery = delivery(args, plan, before);
    let mut simulation = Simulation::start(settings, args.conduct(), state);
    let result = run::run_with_truth(
        &mut simulation,
        &delivery,
        sink.as_mut(),
        truth.as_mut(),
        &stop,
        &mut |summary| progress.show(summary),
    );
    progress.clear();
    let summary = result?;
    finish_truth(args, truth, &simulation, &summary)?;
    if args.json {
        let text = serde_json::to_string(&summary).context("failed to write the summary as JSON")?;
        print(&format!("{text}\n"))?;
    } else {
        progress::print_summary(&summary, &place, &show_time);
    }
    Ok(ExitCode::Done)
}

/// Opens the files of the truth, if they are asked for.
fn truth(args: &RunArgs, run_id: &str) -> Result<Option<Truth>> {
    let Some(folder) = &args.faults.truth else { return Ok(None) };
    Ok(Some(Truth::create(folder, args.overwrite, run_id).map_err(SinkError::Truth)?))
}

/// Reads the checkpoint to go on from, if there is one.
fn resume(args: &RunArgs) -> Result<Option<Checkpoint>> {
    let Some(path) = &args.pacing.checkpoint else { return Ok(None) };
    let checkpoint = Checkpoint::read(path).map_err(bad_settings)?;
    if let Some(checkpoint) = &checkpoint {
        info!(run_id = checkpoint.run.run_id, path = %path.display(), "going on from a checkpoint");
    }
    Ok(checkpoint)
}

fn delivery(args: &RunArgs, faults: Plan, resumed: Option<serde_json::Value>) -> Delivery {
    let every = args.pacing.checkpoint_interval;
    Delivery {
        key: args.key,
        pace: args.pace(),
        max_eps: args.pacing.max_eps,
        clock: None,
        max_events: args.max_events,
        faults,
        keep: args.pacing.checkpoint.clone().map(|path| Keep { path, every, resumed }),
    }
}

/// Closes the files of the truth, and adds the summary.
fn finish_truth(
    args: &RunArgs,
    truth: Option<Truth>,
    simulation: &Simulation,
    summary: &run::Summary,
) -> Result<()> {
    let (Some(truth), Some(folder)) = (truth, &args.faults.truth) else { return Ok(()) };
    let songs = &simulation.model().catalogue.songs;
    truth.finish(&|song| &songs[song as usize].json)?;
    let path = folder.join("summary.json");
    let text = serde_json::to_string_pretty(summary).context("failed to write the summary as JSON")?;
    fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))
}

fn broker(command: BrokerCommand) -> Result<ExitCode> {
    match command {
        BrokerCommand::Start { home, partitions, json } => {
            let (file, is_new) = BrokerHome::new(&home.home)?.start(partitions)?;
            let found = if is_new { "started" } else { "is running already" };
            show_broker(&file, found, json)
        }
        BrokerCommand::Status { home, json } => {
            let home = BrokerHome::new(&home.home)?;
            match home.status()? {
                Status::Running(file) => {
                    if let Err(error) = broker::answers(&file.bootstrap_servers) {
                        print(&format!("broker with pid {} does not answer: {error}\n", file.pid))?;
                        return Ok(ExitCode::Failure);
                    }
                    show_broker(&file, "is running", json)
                }
                Status::Starting => print("broker is starting\n").map(|_| ExitCode::Failure),
                Status::Stopped { gone: Some(file) } => {
                    let BrokerFile { pid, started_at, .. } = file;
                    print(&format!(
                        "no broker is running; the one with pid {pid}, started {started_at}, has gone\n"
                    ))?;
                    Ok(ExitCode::Failure)
                }
                Status::Stopped { gone: None } => print("no broker is running\n").map(|_| ExitCode::Failure),
            }
        }
        BrokerCommand::Stop { home } => match BrokerHome::new(&home.home)?.stop()? {
            Some(file) => print(&format!("broker with pid {} stopped\n", file.pid)),
            None => print("no broker was running\n"),
        },
        BrokerCommand::Run { home, partitions, detached } => {
            if detached {
                process::leave_terminal();
            }
            let stop = shutdown_token()?;
            BrokerHome::new(&home.home)?.run(partitions, &stop, &mut |_| {})?;
            Ok(ExitCode::Done)
        }
    }
}

fn show_broker(file: &BrokerFile, found: &str, json: bool) -> Result<ExitCode> {
    if json {
        let text = serde_json::to_string(file).context("failed to write broker.json as JSON")?;
        return print(&format!("{text}\n"));
    }
    let BrokerFile { pid, bootstrap_servers, identity, started_at, .. } = file;
    print(&format!(
        "broker {found}: {bootstrap_servers}, pid {pid}, identity {identity}, since {started_at}\n"
    ))
}
