//! The command line. Every setting of the service is both a flag and an environment variable. Flags of client commands are in
//! `command/args.rs`.

mod serve;

pub(crate) use serve::{ServeArgs, SweepArgs};

use std::{path::PathBuf, time::Duration};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, builder::Resettable};
use db_locks_service::store::{DatabaseOptions, UrlError};

use crate::{
    command::{ClientCommand, USAGE},
    log_filter::LogFilter,
    token::args::TokenCommand,
};

/// A lock service over the database you already run.
///
/// Without a subcommand it migrates the database's schema and serves.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

impl Cli {
    /// Reads arguments and environment. An empty environment variable counts as not set, since compose files and Helm charts
    /// write an unset setting that way.
    pub(crate) fn read() -> Self {
        let matches = without_empty_variables(Self::command()).try_get_matches();
        let read = matches.and_then(|matches| Self::from_arg_matches(&matches));
        read.unwrap_or_else(|error| exit_with(&error))
    }
}

/// Ends the program with an error about its arguments. Passwords in URLs are removed from the message.
fn exit_with(error: &clap::Error) -> ! {
    let message = error.to_string();
    let shows_a_url = |argument: &String| argument.contains("://") && message.contains(argument.as_str());
    if std::env::args().skip(1).any(|argument| shows_a_url(&argument)) {
        let message =
            "a URL stands where none is expected; the database's goes into DATABASE_URL or --database-url";
        exit(&Cli::command().error(clap::error::ErrorKind::InvalidValue, message));
    }
    exit(error)
}

/// Prints the message, which may be the requested help, and ends the program.
fn exit(error: &clap::Error) -> ! {
    // If the output is closed, only the exit code matters.
    let _ = error.print();
    std::process::exit(if error.use_stderr() { i32::from(USAGE) } else { 0 })
}

fn without_empty_variables(command: clap::Command) -> clap::Command {
    let ignore = |arg: clap::Arg| {
        let is_empty = |name| std::env::var_os(name).is_some_and(|value| value.is_empty());
        if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg }
    };
    command.mut_args(ignore).mut_subcommands(without_empty_variables)
}

/// The commands other than serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Migrate the database's schema.
    Migrate {
        #[command(subcommand)]
        step: MigrateStep,
    },
    /// Raise the epoch of fencing tokens.
    Epoch {
        #[command(subcommand)]
        command: EpochCommand,
    },
    /// Create, list or revoke bearer tokens, directly in the database.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Check whether a service is ready: exit code 0 if it is, 69 if not. For health checks of containers.
    Health {
        /// The URL of the service. Several are separated by commas; one that is ready is enough. Default: the address in
        /// `DB_LOCKS_LISTEN`, which is `http://127.0.0.1:8080`.
        #[arg(long, env = "DB_LOCKS_URL", hide_env_values = true, value_delimiter = ',')]
        url: Vec<String>,
    },
    #[command(flatten)]
    Client(ClientCommand),
    /// Print the OpenAPI document as YAML.
    Openapi,
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, one for each command, into a folder.
    Manual {
        /// The folder, which must exist.
        folder: PathBuf,
    },
}

/// The commands for the schema.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum MigrateStep {
    /// Apply all pending migrations.
    Up,
    /// Undo the last migration. Erases the locks and tokens in its tables.
    Down {
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
    /// List the migrations and whether they are applied.
    Status,
    /// Undo all migrations and apply them again. Erases all locks and tokens.
    Redo {
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
}

/// The commands for the epoch of fencing tokens.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum EpochCommand {
    /// After a restore from a backup: end all grants, and make all new tokens higher than every token granted before.
    ///
    /// A backup lacks the last grants. Without this command their tokens would be granted again, and grants that have ended since
    /// the backup would be active. Stop the services before the restore, and start them after this command.
    Raise {
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
}

/// The database that stores the locks.
#[derive(Debug, Args)]
pub(crate) struct DatabaseArgs {
    /// The URL of the database: `sqlite:`, `postgres://` or `postgresql://`, `mysql://` or `mariadb://`. Without a scheme it is
    /// the path of a SQLite file, in a folder that exists.
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        default_value = "sqlite://db-locks.sqlite?mode=rwc",
        global = true
    )]
    pub(crate) database_url: String,

    /// The most connections to the database.
    #[arg(long, env = "DB_LOCKS_MAX_CONNECTIONS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub(crate) max_connections: u32,

    /// The URL for PostgreSQL notifications if `DATABASE_URL` leads to a pooler in transaction mode: it must lead to the server
    /// itself. Without it replicas poll for hand-overs.
    #[arg(long, env = "DB_LOCKS_NOTIFY_URL", hide_env_values = true, global = true)]
    pub(crate) notify_url: Option<String>,

    /// How long to wait for a migration by another process, in milliseconds.
    #[arg(long, env = "DB_LOCKS_MIGRATE_WAIT_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(0..=86_400_000), global = true)]
    pub(crate) migrate_wait_ms: u64,
}

impl DatabaseArgs {
    /// Reads the options from the URL.
    pub(crate) fn options(&self) -> Result<DatabaseOptions, UrlError> {
        let options = DatabaseOptions::new(&self.database_url, self.max_connections)?;
        let unknown = options.unknown_parameters();
        if !unknown.is_empty() {
            tracing::warn!(
                parameters = unknown.join(", "),
                "the database URL has parameters that have no effect"
            );
        }
        let options = options.with_migration_wait(Duration::from_millis(self.migrate_wait_ms));
        match &self.notify_url {
            Some(url) => options.with_notify_url(url),
            None => Ok(options),
        }
    }
}

/// The settings of the log.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// What to log: a level, or directives such as `info,db_locks=debug`.
    #[arg(long = "log", env = "DB_LOCKS_LOG", default_value = "info", global = true)]
    pub(crate) filter: LogFilter,

    /// The format of the log.
    #[arg(long = "log-format", env = "DB_LOCKS_LOG_FORMAT", default_value = "text", global = true)]
    pub(crate) format: LogFormat,
}

/// The formats of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
