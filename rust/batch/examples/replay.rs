//! Runs the jobs of `replay` and prints their reports as JSON.
//!
//! ```text
//! replay dead-letters [--dry-run] [--contracts DIR]
//! replay swap TABLE [--dry-run] [--accept-loss] [--contracts DIR]
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use streamify_batch::replay::{dead_letters, swap};
use streamify_batch::{BatchError, Context};
use streamify_lake::{Lake, LakeSettings};
use streamify_runtime::report::print_error;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    job: Job,
    #[arg(long, global = true)]
    dry_run: bool,
    #[arg(long, global = true)]
    contracts: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Job {
    DeadLetters,
    Swap {
        staging: String,
        #[arg(long)]
        accept_loss: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            print_error(&error, error.hint().as_deref());
            error.exit_code().into()
        }
    }
}

async fn run(arguments: Arguments) -> Result<String, BatchError> {
    let contracts = match &arguments.contracts {
        Some(folder) => streamify_core::load_dir(folder)?,
        None => streamify_core::builtin(),
    };
    let settings = LakeSettings::from_env(&|name| std::env::var(name).ok())?;
    let context = Context::new(Lake::open(&settings).await?);
    let dry_run = arguments.dry_run;
    let report = match arguments.job {
        Job::DeadLetters => {
            let options = dead_letters::ReplayLettersOptions { dry_run, ..Default::default() };
            serde_json::to_string(&dead_letters::run(&context, &contracts, &options).await?)
        }
        Job::Swap { staging, accept_loss } => {
            let options = swap::SwapOptions { staging, accept_loss, dry_run };
            serde_json::to_string(&swap::run(&context, &contracts, &options).await?)
        }
    };
    Ok(report.unwrap_or_default())
}
