//! The arguments of the commands that are clients.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};
use db_locks::LocksConfig;

use super::time::{Time, read_lease};

/// Commands that are clients of a service.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Run a command under a lock: acquire the lock, renew it while the command runs, and release it.
    ///
    /// Exit codes: the command's own (128 and its signal's number if a signal ended it, 126 and 127 if it cannot be
    /// started); 64 usage; 69 service out of reach; 75 not granted; 76 lock lost while the command ran; 77 access denied.
    Run(Box<RunArgs>),
    /// Acquire a lock, and show the grant. Nothing renews it.
    Acquire(Box<CallArgs<AcquireArgs>>),
    /// Renew the lease of a grant.
    Heartbeat(CallArgs<HeartbeatArgs>),
    /// Release a grant.
    Release(CallArgs<ReleaseArgs>),
    /// Show a lock, held or not.
    Get(CallArgs<KeyArgs>),
    /// List locks.
    List(CallArgs<ListArgs>),
    /// List the permits of a semaphore that are held.
    Permits(CallArgs<KeyArgs>),
    /// Create, show, list or delete semaphores.
    Semaphore {
        #[command(subcommand)]
        command: SemaphoreCommand,
    },
}

/// The commands for semaphores.
#[derive(Debug, Subcommand)]
pub(crate) enum SemaphoreCommand {
    /// Create a semaphore, or change its size.
    Put(CallArgs<SemaphorePutArgs>),
    /// Show a semaphore.
    Get(CallArgs<KeyArgs>),
    /// List semaphores.
    List(CallArgs<SemaphoreListArgs>),
    /// Delete a semaphore. No permit may be held.
    Delete(CallArgs<KeyArgs>),
}

/// The connection to the service.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// The URL of the service. Separate several with commas; those that do not answer are skipped. With the URL of a
    /// database the command runs the engine itself and needs no service.
    #[arg(long, env = "DB_LOCKS_URL", hide_env_values = true, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The secret that is sent as the bearer token. Prefer the environment variable, since other users can see arguments.
    #[arg(long, env = "DB_LOCKS_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The tenant of the keys.
    #[arg(long, env = "DB_LOCKS_TENANT")]
    tenant: Option<String>,
    /// Whether to bring the schema up to date first, if the URL is that of a database.
    #[arg(long, env = "DB_LOCKS_MIGRATE", default_value_t = true, action = clap::ArgAction::Set)]
    migrate: bool,
}

impl ConnectArgs {
    pub(super) fn config(&self) -> LocksConfig {
        let mut config = LocksConfig::new(&self.url).with_migrations(self.migrate);
        if let Some(token) = &self.token {
            config = config.with_token(token);
        }
        if let Some(tenant) = &self.tenant {
            config = config.with_tenant(tenant);
        }
        config
    }
}

/// The format of answers.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub(super) json: bool,
}

/// The waiting time.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// How long to wait for the lock, such as `30s`. The longest time is `10m`, unless the service allows more. Default:
    /// 10 min for `run`, otherwise 15 s. With this option a service or database that is out of reach, or cannot serve
    /// now, is asked again until the time is over.
    #[arg(long, value_name = "TIME")]
    pub(super) wait: Option<Time>,
    /// Do not wait.
    #[arg(long, conflicts_with = "wait")]
    pub(super) no_wait: bool,
}

/// The arguments of a command that makes one call: those of the call, the connection, and the format of the answer.
#[derive(Debug, Args)]
pub(crate) struct CallArgs<A: Args> {
    #[command(flatten)]
    pub(super) call: A,
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// The arguments that `run` and `acquire` have in common.
#[derive(Debug, Args)]
pub(crate) struct TakeArgs {
    /// The key of the lock, or of the semaphore.
    pub(super) key: String,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    /// Take a permit of the semaphore with this key.
    #[arg(long)]
    pub(super) semaphore: bool,
    /// Guard the key: transactions that call `db_locks_guard` with the version commit only while the grant is valid.
    #[arg(long)]
    pub(super) guarded: bool,
    /// The name of the holder, shown to others. Default: `USER@HOST:PID`.
    #[arg(long, value_name = "NAME")]
    pub(super) owner: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// How long the lock stays held after the last heartbeat.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = read_lease)]
    pub(super) lease: Time,
    #[command(flatten)]
    pub(super) take: TakeArgs,
    /// Exit with 0 if the lock is held by others; do not wait unless `--wait` is given.
    #[arg(long)]
    pub(super) skip_if_locked: bool,
    /// Keep the lock for at least this time after the grant, even if the command ends earlier: for jobs that several
    /// machines start at almost the same time.
    #[arg(long, value_name = "TIME")]
    pub(super) min_hold: Option<Time>,
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
    /// The command and its arguments. It sees `DB_LOCKS_KEY`, `DB_LOCKS_VERSION`, `DB_LOCKS_FENCING_TOKEN` and
    /// `DB_LOCKS_OWNER`, and all other variables. `DB_LOCKS_TOKEN` is among them, so that the command can call `db-locks`
    /// itself. To hide the token: `-- env -u DB_LOCKS_TOKEN COMMAND`.
    #[arg(last = true, required = true, num_args = 1.., value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

/// Ends a process group before the end of its lease, if `run` itself is paused or killed. It is internal: only `run`
/// starts it, and it is not shown to users.
#[derive(Debug, Parser)]
pub(crate) struct WatchdogArgs {
    /// How long before the end of the lease the group gets SIGTERM, in milliseconds.
    #[arg(long)]
    pub(super) terminate_ms: u64,
    /// How long before the end of the lease the group gets SIGKILL, in milliseconds.
    #[arg(long)]
    pub(super) kill_ms: u64,
}

#[derive(Debug, Args)]
pub(crate) struct AcquireArgs {
    /// The length of the lease. Default: 15 s, or the lease of the semaphore.
    #[arg(long, value_name = "TIME", value_parser = read_lease)]
    pub(super) lease: Option<Time>,
    #[command(flatten)]
    pub(super) take: TakeArgs,
    /// Text to store with the lock.
    #[arg(long)]
    pub(super) data: Option<String>,
    /// The version of the new grant, a UUID. The same version again answers the same grant. Default: a new version.
    #[arg(long = "version", value_name = "UUID")]
    pub(super) grant_version: Option<String>,
}

/// The arguments that name a grant.
#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// The key of the lock, or of the semaphore.
    pub(super) key: String,
    /// The version of the grant, as `acquire` printed it.
    #[arg(value_name = "VERSION", env = "DB_LOCKS_VERSION", hide_env_values = true)]
    pub(super) grant_version: String,
}

#[derive(Debug, Args)]
pub(crate) struct HeartbeatArgs {
    #[command(flatten)]
    pub(super) grant: GrantArgs,
    /// The length of the lease from now. Default: the last length.
    #[arg(long, value_name = "TIME", value_parser = read_lease)]
    pub(super) lease: Option<Time>,
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The key of the lock, or of the semaphore.
    pub(super) key: String,
    /// The version of the grant, as `acquire` printed it. It is optional for a lock with `--force`: the active grant is
    /// then ended, whoever holds it.
    #[arg(
        value_name = "VERSION",
        env = "DB_LOCKS_VERSION",
        hide_env_values = true,
        required_unless_present = "force"
    )]
    pub(super) grant_version: Option<String>,
    /// End the grant of another holder. Its heartbeats and releases are refused as revoked from then on.
    #[arg(long)]
    pub(super) force: bool,
    /// The reason, shown to the former holder.
    #[arg(long, value_name = "TEXT", requires = "force")]
    pub(super) reason: Option<String>,
    /// Also delete the lock.
    #[arg(long)]
    pub(super) delete: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The key.
    pub(super) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// List only keys with this prefix.
    #[arg(long)]
    pub(super) prefix: Option<String>,
    /// List only locks of this owner.
    #[arg(long)]
    pub(super) owner: Option<String>,
    /// List only locks that are held.
    #[arg(long, conflicts_with = "free")]
    pub(super) locked: bool,
    /// List only locks that are free.
    #[arg(long)]
    pub(super) free: bool,
    #[command(flatten)]
    pub(super) page: LimitArgs,
}

/// The length of a list.
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// The largest number of items. Default: all.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct SemaphoreListArgs {
    /// List only keys with this prefix.
    #[arg(long)]
    pub(super) prefix: Option<String>,
    #[command(flatten)]
    pub(super) page: LimitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SemaphorePutArgs {
    /// The key.
    pub(super) key: String,
    /// The number of permits that can be held at the same time.
    #[arg(long, value_name = "NUMBER")]
    pub(super) max_size: u32,
    /// The default lease of the permits. Default: 15 s for a new semaphore, otherwise the current one.
    #[arg(long, value_name = "TIME", value_parser = read_lease)]
    pub(super) lease: Option<Time>,
    /// Guard the semaphore: transactions that call `db_locks_guard` with a permit's version commit only while its grant
    /// is valid.
    #[arg(long)]
    pub(super) guarded: bool,
}
