//! Settings of the service.

use std::num::NonZeroUsize;

use clap::Args;
use db_locks_api::{AllowedHosts, TrustedProxies};
use db_locks_service::{
    audit::AuditOutput,
    engine::{EngineOptions, SweepOptions},
};

use crate::{listen::ListenAddress, security::SecurityArgs};

/// The settings of the service.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The address to listen on: HOST:PORT, :PORT for all addresses, a port alone for 127.0.0.1, IPv6 in brackets. Several are
    /// separated by commas.
    #[arg(long, env = "DB_LOCKS_LISTEN", default_value = "127.0.0.1:8080", value_delimiter = ',')]
    pub(crate) listen: Vec<ListenAddress>,

    /// Host names that requests to a loopback address may use, in addition to `localhost` and the like: with or without a port,
    /// separated by commas. Web pages under these names may call the service on every address.
    #[arg(long, env = "DB_LOCKS_ALLOWED_HOSTS")]
    pub(crate) allowed_hosts: Option<AllowedHosts>,

    /// The largest number of client connections at a time; more are answered 503. Default and maximum: the limit of open files
    /// minus what the database and the program itself need.
    #[arg(long, env = "DB_LOCKS_MAX_HTTP_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_http_connections: Option<u32>,

    /// Whether to migrate the schema before serving.
    #[arg(long, env = "DB_LOCKS_MIGRATE", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) migrate: bool,

    /// The longest lease that a request may ask for, in milliseconds.
    #[arg(long, env = "DB_LOCKS_MAX_LEASE_MS", default_value_t = 86_400_000, value_parser = clap::value_parser!(i64).range(1..=31_536_000_000))]
    pub(crate) max_lease_ms: i64,

    /// The longest wait that a request may ask for, in milliseconds.
    #[arg(long, env = "DB_LOCKS_MAX_WAIT_MS", default_value_t = 600_000, value_parser = clap::value_parser!(i64).range(0..=86_400_000))]
    pub(crate) max_wait_ms: i64,

    /// How long a release waits for a transaction that called `db_locks_guard`, in milliseconds, before the answer is 409.
    #[arg(long, env = "DB_LOCKS_GUARD_WAIT_MS", default_value_t = EngineOptions::GUARD_WAIT_MS, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub(crate) guard_wait_ms: u64,

    /// The largest number of requests that wait for one key.
    #[arg(long, env = "DB_LOCKS_MAX_WAITERS_PER_KEY", default_value_t = 10_000, value_parser = clap::value_parser!(i64).range(0..=1_000_000))]
    pub(crate) max_waiters_per_key: i64,

    /// The largest number of requests of one tenant that wait in this process.
    #[arg(long, env = "DB_LOCKS_MAX_WAITERS_PER_TENANT", default_value = "25000")]
    pub(crate) max_waiters_per_tenant: NonZeroUsize,

    /// About how many bytes a tenant may store. Each key, each permit that was ever used, and each request that waits counts 512
    /// bytes and its data. Beyond the limit the tenant can create nothing and enlarge nothing; existing locks work as before.
    #[arg(long, env = "DB_LOCKS_MAX_BYTES_PER_TENANT", default_value_t = EngineOptions::MAX_BYTES_PER_TENANT, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_bytes_per_tenant: u64,

    /// The largest number of requests that wait in this process.
    #[arg(long, env = "DB_LOCKS_MAX_WAITERS", default_value_t = 50_000)]
    pub(crate) max_waiters: usize,

    /// The number of acquires queued for the database above which tenants with more than their share are answered 503. Above
    /// twice that number all are.
    #[arg(long, env = "DB_LOCKS_MAX_QUEUED", default_value_t = EngineOptions::MAX_QUEUED)]
    pub(crate) max_queued: usize,

    /// The longest time that an acquire is queued for the database, in milliseconds. Acquires that would be queued longer are
    /// answered 503. Heartbeats and releases are not limited.
    #[arg(long, env = "DB_LOCKS_MAX_QUEUE_MS", default_value_t = EngineOptions::MAX_QUEUE_MS, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub(crate) max_queue_ms: u64,

    /// The number of shards that the keys are spread over. Each has at most two batches under way. Default: 1 on SQLite,
    /// otherwise one for each thread, at most 4.
    #[arg(long, env = "DB_LOCKS_SHARDS")]
    pub(crate) shards: Option<NonZeroUsize>,

    /// The number of threads that answer requests. Default: half of the processors, since the database and the kernel need the rest.
    #[arg(long, env = "DB_LOCKS_THREADS")]
    pub(crate) threads: Option<NonZeroUsize>,

    /// About how many bytes this process uses to cache states of keys.
    #[arg(long, env = "DB_LOCKS_MEMORY_BYTES", default_value_t = 16 * 1024 * 1024)]
    pub(crate) memory_bytes: usize,

    /// The time limit for requests under way after SIGTERM, in milliseconds.
    #[arg(long, env = "DB_LOCKS_SHUTDOWN_GRACE_MS", default_value_t = 8_000, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub(crate) shutdown_grace_ms: u64,

    /// Where to write the audit log, as one JSON object per line: `stderr` or the path of a file. The file is created if it does
    /// not exist, and reopened at SIGHUP. Default: no audit log.
    #[arg(long, env = "DB_LOCKS_AUDIT_LOG", value_name = "stderr|PATH")]
    pub(crate) audit_log: Option<AuditOutput>,

    /// Proxies whose `X-Forwarded-For` is trusted, as addresses or networks, separated by commas.
    #[arg(long, env = "DB_LOCKS_TRUSTED_PROXIES")]
    pub(crate) trusted_proxies: Option<TrustedProxies>,

    #[command(flatten)]
    pub(crate) security: SecurityArgs,

    #[command(flatten)]
    pub(crate) sweep: SweepArgs,
}

impl ServeArgs {
    /// The number of threads that answer requests. By default it is half of the processors: the database, in this process or in
    /// its own, needs the rest, and waking another thread costs more than it gains.
    pub(crate) fn threads(&self) -> usize {
        self.threads.map_or_else(
            || std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2)),
            NonZeroUsize::get,
        )
    }
}

/// The settings of the background sweep.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "each name contains the unit")]
pub(crate) struct SweepArgs {
    /// The pause between two sweeps, in milliseconds.
    #[arg(long, env = "DB_LOCKS_SWEEP_PERIOD_MS", default_value_t = SweepOptions::DEFAULT.period_ms, value_parser = clap::value_parser!(u64).range(10..=86_400_000))]
    pub(crate) sweep_period_ms: u64,

    /// How long an ended lock with `delete_on_release` is kept, in milliseconds.
    #[arg(long, env = "DB_LOCKS_EXPIRED_DELETE_AFTER_MS", default_value_t = SweepOptions::DEFAULT.expired_delete_after_ms, value_parser = clap::value_parser!(i64).range(0..=86_400_000))]
    pub(crate) expired_delete_after_ms: i64,

    /// Free locks that were not used for this many milliseconds are deleted. With 0 they are kept forever.
    #[arg(long, env = "DB_LOCKS_IDLE_LOCK_RETENTION_MS", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) idle_lock_retention_ms: i64,

    /// How long the trace of a deleted key is kept, in milliseconds. It must be longer than any pause of a replica.
    #[arg(long, env = "DB_LOCKS_TOMBSTONE_RETENTION_MS", default_value_t = SweepOptions::DEFAULT.tombstone_retention_ms, value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) tombstone_retention_ms: i64,

    /// How long after a raise of a token floor the traces below it are deleted, in milliseconds. It must be longer than any
    /// statement takes.
    #[arg(long, env = "DB_LOCKS_FLOOR_SETTLE_MS", default_value_t = SweepOptions::DEFAULT.floor_settle_ms, value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) floor_settle_ms: i64,
}
