//! Drives db-locks and its peers with the same load from the same program, and compares them.
//!
//! A run starts each server in a folder of its own, measures it while no other one runs, ends it, and continues with
//! the next. Each round measures all servers in turn, so that a slow minute of the machine affects all of them. See
//! `README.md`.

mod client;
mod limits;
mod load;
mod number;
mod plan;
mod report;
mod run;
mod settings;
mod site;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::settings::{Args, Settings};

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line and runs the benchmark.
///
/// The run is one future on the main thread; the load runs on the runtime's workers. An error or a signal drops that
/// future with the guards of the servers, which end the processes that they started.
fn start() -> anyhow::Result<()> {
    let settings = Settings::resolve(Args::parse())?;
    limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.threads)
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        tokio::select! {
            done = run::run(&settings) => done,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            _ = terminated.recv() => anyhow::bail!("terminated"),
        }
    })
}
