//! Opens the destination that the arguments name, and writes the dimensions into it.

use std::path::Path;

use anyhow::Result;
use streamify_generate::{
    broker::{BrokerFile, BrokerHome, Status},
    cli::RunArgs,
    simulation::Settings,
    sink::{
        Sink, SinkError,
        dimensions::{write_files, write_kafka, write_lines},
        files::FileSink,
        kafka::{Follow, KafkaSettings, KafkaSink},
        layout::{Layout, LayoutSink, Rotation},
        stdout::LineSink,
    },
};
use tokio_util::sync::CancellationToken;

use crate::bad_settings;

/// No destination was named, and there is no embedded broker.
#[derive(Debug, thiserror::Error)]
#[error(
    "no destination: no `--out`, no `--bootstrap-servers`, and no embedded broker is running under `{home}`"
)]
pub(crate) struct NoDestination {
    home: String,
}

/// Opens the destination, where a checkpoint left it if there is one; returns it and its name for people.
pub(crate) fn open(
    args: &RunArgs,
    settings: &Settings,
    mark: Option<&serde_json::Value>,
    stop: &CancellationToken,
) -> Result<(Box<dyn Sink>, String)> {
    match args.folder() {
        Some(path) if path.as_os_str() == "-" => Ok(standard_output(args, settings)?),
        Some(folder) => Ok((files(args, settings, folder, mark)?, folder.display().to_string())),
        None => kafka(args, settings, mark.is_some(), stop),
    }
}

fn standard_output(args: &RunArgs, settings: &Settings) -> Result<(Box<dyn Sink>, String), SinkError> {
    let mut lines = LineSink::stdout(args.output.only);
    if args.output.dimensions {
        write_lines(settings, &args.output.dimension_prefix, &mut lines)?;
    }
    Ok((Box::new(lines), "standard output".to_owned()))
}

fn files(
    args: &RunArgs,
    settings: &Settings,
    folder: &Path,
    mark: Option<&serde_json::Value>,
) -> Result<Box<dyn Sink>, SinkError> {
    let output = &args.output;
    let (compression, rotation) = (output.compress, output.rotate);
    let sink: Box<dyn Sink> = if compression.is_none() && rotation == Rotation::None {
        match mark {
            Some(mark) => Box::new(FileSink::resume(folder, mark)?),
            None => Box::new(FileSink::create(folder, args.overwrite)?),
        }
    } else {
        let layout = Layout { folder: folder.to_owned(), compression, rotation, overwrite: args.overwrite };
        Box::new(match mark {
            Some(mark) => LayoutSink::resume(layout, mark)?,
            None => LayoutSink::create(layout)?,
        })
    };
    if output.dimensions && mark.is_none() {
        write_files(settings, folder, &output.dimension_prefix, compression, args.overwrite)?;
    }
    Ok(sink)
}

fn kafka(
    args: &RunArgs,
    settings: &Settings,
    is_resumed: bool,
    stop: &CancellationToken,
) -> Result<(Box<dyn Sink>, String)> {
    let options = args.kafka.resolve(std::env::vars()).map_err(bad_settings)?;
    let given = args.bootstrap_servers.as_deref().map(str::trim).filter(|servers| !servers.is_empty());
    let (servers, is_embedded) = match given {
        Some(servers) => (servers.to_owned(), false),
        None => (embedded_broker(&args.home.home)?.bootstrap_servers, true),
    };
    let kafka = KafkaSettings {
        servers: servers.clone(),
        options,
        num_partitions: args.partitions,
        replication: args.replication,
        compression: args.compression.clone(),
        run_id: settings.run_id(),
        follow: follow(args, is_embedded),
        topics: args.output.topic_options().map_err(bad_settings)?,
        transactions: args.output.transactions(),
    };
    if args.output.dimensions && !is_resumed {
        let output = &args.output;
        write_kafka(settings, &kafka, &output.dimension_prefix, output.dimension_partitions, stop)
            .map_err(option_is_bad)?;
    }
    let sink = KafkaSink::connect(kafka, stop.clone()).map_err(option_is_bad)?;
    let place =
        if is_embedded { format!("the embedded broker at {servers}") } else { format!("Kafka at {servers}") };
    Ok((Box::new(sink), place))
}

fn option_is_bad(error: SinkError) -> anyhow::Error {
    match error {
        SinkError::KafkaOption { .. } => bad_settings(error),
        error => error.into(),
    }
}

fn embedded_broker(home: &Path) -> Result<BrokerFile> {
    match BrokerHome::new(home)?.status()? {
        Status::Running(file) => Ok(file),
        Status::Starting | Status::Stopped { .. } => {
            let home = std::path::absolute(home).unwrap_or_else(|_| home.to_owned()).display().to_string();
            Err(bad_settings(NoDestination { home }))
        }
    }
}

fn follow(args: &RunArgs, is_embedded: bool) -> Option<Follow> {
    if args.no_follow {
        return None;
    }
    let usual = || {
        let group = std::env::var("STREAMIFY_GROUP_ID").ok().filter(|group| !group.trim().is_empty());
        is_embedded.then(|| group.unwrap_or_else(|| "streamify".to_owned()))
    };
    let group = args.follow_group.clone().or_else(usual)?;
    Some(Follow { group, max_unread_bytes: args.max_unread, timeout: args.follow_timeout })
}
