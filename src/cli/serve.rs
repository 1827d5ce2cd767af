//! Settings of the service.

use std::num::NonZeroUsize;

use clap::Args;
use db_locks_api::{AllowedHosts, TrustedProxies};
use db_locks_service::{
    audit::AuditOutput,
    engine::{EngineOptions, SweepOptions},
};

use crate::{listen::ListenAddress, security::SecurityArgs};

/// How to serve.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen: HOST:PORT, :PORT for every address, a port alone for 127.0.0.1, IPv6 in brackets; several are
    /// separated by commas.
    #[arg(long, env = "DB_LOCKS_LISTEN", default_value = "127.0.0.1:8080", value_delimiter = ',')]
    pub(crate) listen: Vec<ListenAddress>,

    /// Names under which the service may be called on a loopback address, beside `localhost` and its like: with or
    /// without a port, separated by commas. Pages under these names may call it on every address.
    #[arg(long, env = "DB_LOCKS_ALLOWED_HOSTS")]
    pub(crate) allowed_hosts: Option<AllowedHosts>,

    /// The most connections of clients at a time; more are answered 503. Default, and at most: the limit of open files
    /// less what the database and the program itself need.
    #[arg(long, env = "DB_LOCKS_MAX_HTTP_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_http_connections: Option<u32>,

    /// Whether to bring the schema up to date before serving.
    #[arg(long, env = "DB_LOCKS_MIGRATE", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) migrate: bool,

    /// The longest lease that may be asked for, in milliseconds.
    #[arg(long, env = "DB_LOCKS_MAX_LEASE_MS", default_value_t = 86_400_000, value_parser = clap::value_parser!(i64).range(1..=31_536_000_000))]
    pub(crate) max_lease_ms: i64,

    /// The longest wait that may be asked for, in milliseconds.
    #[arg(long, env = "DB_LOCKS_MAX_WAIT_MS", default_value_t = 600_000, value_parser = clap::value_parser!(i64).range(0..=86_400_000))]
    pub(crate) max_wait_ms: i64,

    /// How long a release waits for the end of a transaction that called `db_locks_guard`, in milliseconds, before it is
    /// answered 409.
    #[arg(long, env = "DB_LOCKS_GUARD_WAIT_MS", default_value_t = EngineOptions::GUARD_WAIT_MS, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub(crate) guard_wait_ms: u64,

    /// The most requests that may wait for one key.
    #[arg(long, env = "DB_LOCKS_MAX_WAITERS_PER_KEY", default_value_t = 10_000, value_parser = clap::value_parser!(i64).range(0..=1_000_000))]
    pub(crate) max_waiters_per_key: i64,

    /// The most requests of one tenant that may wait in this process.
    #[arg(long, env = "DB_LOCKS_MAX_WAITERS_PER_TENANT", default_value = "25000")]
    pub(crate) max_waiters_per_tenant: NonZeroUsize,

    /// About how many bytes a tenant may store: each key and each permit that was ever used counts 512 and its data. Beyond that
    /// nothing of the tenant is created or made larger, and what there is goes on.
    #[arg(long, env = "DB_LOCKS_MAX_BYTES_PER_TENANT", default_value_t = EngineOptions::MAX_BYTES_PER_TENANT, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_bytes_per_tenant: u64,

    /// The most requests that may wait in this process.
    #[arg(long, env = "DB_LOCKS_MAX_WAITERS", default_value_t = 50_000)]
    pub(crate) max_waiters: usize,

    /// The most acquires that may be queued for the database before tenants with more than their share are answered 503; from
    /// twice that many on all are.
    #[arg(long, env = "DB_LOCKS_MAX_QUEUED", default_value_t = EngineOptions::MAX_QUEUED)]
    pub(crate) max_queued: usize,

    /// How long acquires may be queued for the database, in milliseconds: those that would be queued longer are answered 503.
    /// Heartbeats and releases never are.
    #[arg(long, env = "DB_LOCKS_MAX_QUEUE_MS", default_value_t = EngineOptions::MAX_QUEUE_MS, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub(crate) max_queue_ms: u64,

    /// How many shards the keys are spread over; each has at most two batches under way. Default: 1 on SQLite, elsewhere
    /// one a thread, at most 4.
    #[arg(long, env = "DB_LOCKS_SHARDS")]
    pub(crate) shards: Option<NonZeroUsize>,

    /// How many threads answer requests. Default: half of the processors, since the database and the kernel need the rest.
    #[arg(long, env = "DB_LOCKS_THREADS")]
    pub(crate) threads: Option<NonZeroUsize>,

    /// About how many bytes of states of keys this process remembers.
    #[arg(long, env = "DB_LOCKS_MEMORY_BYTES", default_value_t = 16 * 1024 * 1024)]
    pub(crate) memory_bytes: usize,

    /// How long requests under way may take to end after SIGTERM, in milliseconds.
    #[arg(long, env = "DB_LOCKS_SHUTDOWN_GRACE_MS", default_value_t = 8_000, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub(crate) shutdown_grace_ms: u64,

    /// Where the audit trail goes, one JSON object a line: `stderr`, or the path of a file, which is made if it is missing, and
    /// opened anew at SIGHUP. Without it there is none.
    #[arg(long, env = "DB_LOCKS_AUDIT_LOG", value_name = "stderr|PATH")]
    pub(crate) audit_log: Option<AuditOutput>,

    /// Proxies whose `X-Forwarded-For` is believed, as addresses or networks, separated by commas.
    #[arg(long, env = "DB_LOCKS_TRUSTED_PROXIES")]
    pub(crate) trusted_proxies: Option<TrustedProxies>,

    #[command(flatten)]
    pub(crate) security: SecurityArgs,

    #[command(flatten)]
    pub(crate) sweep: SweepArgs,
}

impl ServeArgs {
    /// How many threads answer requests. By default half of the processors: the database, be it a thread of this process
    /// or a server beside it, needs the rest, and waking another thread costs more than it brings.
    pub(crate) fn threads(&self) -> usize {
        self.threads.map_or_else(
            || std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2)),
            NonZeroUsize::get,
        )
    }
}

/// What is swept in the background, and when.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "the unit stands in each name")]
pub(crate) struct SweepArgs {
    /// The pause between two sweeps, in milliseconds.
    #[arg(long, env = "DB_LOCKS_SWEEP_PERIOD_MS", default_value_t = SweepOptions::DEFAULT.period_ms, value_parser = clap::value_parser!(u64).range(10..=86_400_000))]
    pub(crate) sweep_period_ms: u64,

    /// How long an ended lock with `delete_on_release` stays, in milliseconds.
    #[arg(long, env = "DB_LOCKS_EXPIRED_DELETE_AFTER_MS", default_value_t = SweepOptions::DEFAULT.expired_delete_after_ms, value_parser = clap::value_parser!(i64).range(0..=86_400_000))]
    pub(crate) expired_delete_after_ms: i64,

    /// Free locks that nobody touched for so many milliseconds are deleted; 0 keeps them for ever.
    #[arg(long, env = "DB_LOCKS_IDLE_LOCK_RETENTION_MS", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) idle_lock_retention_ms: i64,

    /// How long the trace of a deleted key stays, in milliseconds: longer than any replica may be paused and come back.
    #[arg(long, env = "DB_LOCKS_TOMBSTONE_RETENTION_MS", default_value_t = SweepOptions::DEFAULT.tombstone_retention_ms, value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) tombstone_retention_ms: i64,

    /// How long a raised token floor settles before the traces below it go, in milliseconds: longer than any statement
    /// lives.
    #[arg(long, env = "DB_LOCKS_FLOOR_SETTLE_MS", default_value_t = SweepOptions::DEFAULT.floor_settle_ms, value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) floor_settle_ms: i64,
}
