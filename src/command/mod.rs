//! Commands that are clients of a service: `run`, and the calls one by one.

mod args;
mod exit;
mod locks;
mod output;
mod run;
mod semaphores;
mod time;
mod wait;

use std::process::ExitCode;

use db_locks::Client;

pub(crate) use self::{
    args::ClientCommand,
    exit::{UNAVAILABLE, USAGE},
    output::aligned,
    run::part_if_asked,
};
use self::{args::SemaphoreCommand, exit::Failure};

/// Executes a command.
pub(crate) async fn execute(command: ClientCommand) -> ExitCode {
    let result = match command {
        ClientCommand::Run(args) => return run::run(*args).await,
        ClientCommand::Acquire(args) => locks::acquire(*args).await,
        ClientCommand::Heartbeat(args) => locks::heartbeat(args).await,
        ClientCommand::Release(args) => locks::release(args).await,
        ClientCommand::Get(args) => locks::get(args).await,
        ClientCommand::List(args) => locks::list(args).await,
        ClientCommand::Permits(args) => semaphores::permits(args).await,
        ClientCommand::Semaphore { command } => match command {
            SemaphoreCommand::Put(args) => semaphores::put(args).await,
            SemaphoreCommand::Get(args) => semaphores::get(args).await,
            SemaphoreCommand::List(args) => semaphores::list(args).await,
            SemaphoreCommand::Delete(args) => semaphores::delete(args).await,
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// A client with the settings of the command line: of a service, or of the database itself.
async fn connect(args: &args::ConnectArgs) -> Result<Client, Failure> {
    Ok(Client::connect(&args.config()).await?)
}
