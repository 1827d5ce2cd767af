//! The program: command line, configuration, telemetry, start and stop. Wiring only; the rules of locking are elsewhere.

/// Faster than the system's allocator with many connections: see ARCHITECTURE.md, "Choices that were measured".
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static GLOBAL: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

mod cli;
mod command;
mod descriptors;
mod epoch;
mod failure;
mod generate;
mod hangup;
mod health;
mod health_tls;
mod listen;
mod log_filter;
mod log_queue;
mod migrate;
mod printable;
mod security;
mod serve;
mod shutdown;
mod telemetry;
mod token;

use std::process::ExitCode;

use crate::{
    cli::{Cli, Command},
    failure::Failure,
    telemetry::LastLines,
};

fn main() -> ExitCode {
    if let Some(code) = command::part_if_asked() {
        return code;
    }
    let cli = Cli::read();
    let _last_lines = match start_log(&cli) {
        Ok(last_lines) => last_lines,
        Err(error) => {
            failure::report(&error);
            return ExitCode::FAILURE;
        }
    };
    let threads = cli.serve.threads();
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the runtime does not start");
                return ExitCode::FAILURE;
            }
        };
    let result = match cli.command {
        None => shutdown::run(runtime, serve::serve(cli.database, cli.serve)),
        Some(Command::Migrate { step }) => shutdown::run(runtime, migrate::migrate(&cli.database, step)),
        Some(Command::Epoch { command }) => shutdown::run(runtime, epoch::epoch(&cli.database, command)),
        Some(Command::Token { command }) => shutdown::run(runtime, token::token(&cli.database, command)),
        Some(Command::Health { url }) => {
            let speaks_tls = cli.serve.security.speaks_tls();
            return shutdown::run(runtime, health::health(&url, &cli.serve.listen, speaks_tls));
        }
        Some(Command::Client(command)) => return shutdown::run(runtime, command::execute(command)),
        Some(Command::Openapi) => print_openapi(),
        Some(Command::Completions { shell }) => generate::completions(shell),
        Some(Command::Manual { folder }) => generate::manual(&folder),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            failure::report(&*error);
            ExitCode::FAILURE
        }
    }
}

/// Starts the log. The last lines of the service are written when the result is dropped.
fn start_log(cli: &Cli) -> std::io::Result<Option<LastLines>> {
    if cli.command.is_none() {
        return telemetry::log_of_service(&cli.log).map(Some);
    }
    telemetry::log(&cli.log);
    Ok(None)
}

/// The OpenAPI document for the default configuration, which is the repository's `openapi.yaml`.
fn print_openapi() -> Result<(), Failure> {
    use std::io::Write;
    let yaml = db_locks_api::openapi_yaml(&db_locks_service::Limits::default());
    std::io::stdout().write_all(yaml.as_bytes())?;
    Ok(())
}
