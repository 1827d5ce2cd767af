//! Serving: connect, bring the schema up to date, start the engine, listen, stop.

use std::{sync::Arc, time::Duration};

use db_locks_api::{ApiConfig, ServeOptions};
use db_locks_service::{
    Limits, LockService,
    access::Tokens,
    audit::AuditLog,
    engine::{Engine, EngineOptions, SweepOptions},
    spawn_critical,
    store::{self, Database, DatabaseOptions, DatabasePlace, Store, StoreError},
};
use tokio::time::Instant;

use crate::{
    Failure,
    cli::{DatabaseArgs, ServeArgs, SweepArgs},
    descriptors,
    failure::with_place,
    hangup, listen,
    security::{self, Files},
    shutdown, telemetry,
};

/// The largest number of shards by default.
const MOST_SHARDS: usize = 4;

/// Serves until the process is asked to stop.
pub(crate) async fn serve(database: DatabaseArgs, args: ServeArgs) -> Result<(), Failure> {
    let metrics = telemetry::metrics()?;
    let options = database.options()?;
    let place = options.place();
    log_start(place);
    let audit = start_audit(&args)?;
    let addresses = listen::bind(&args.listen).await?;
    security::check_addresses(&args.security, &addresses.addresses())?;
    // In a future of its own, since it is done only at start.
    let opened = Box::pin(open(&options, args.migrate)).await;
    let store = opened.map_err(|error| with_place(place, error))?;
    let mut files = Files::default();
    let authentication = security::authentication(&args.security, store.clone(), &mut files).await?;
    let tls = security::tls(&args.security, &mut files)?;
    let requires_credentials = authentication.is_some();
    let tokens = Tokens::new(store.clone());
    let engine = start_engine(&args, store.clone(), audit.clone()).await?;
    let service = LockService::new(engine.clone(), store, limits(&args));

    let measured = engine.clone();
    let render_metrics = Arc::new(move || {
        measured.update_gauges();
        metrics.render()
    });
    let allowed_hosts = args.allowed_hosts.clone().unwrap_or_default();
    let config = ApiConfig {
        render_metrics,
        version: env!("CARGO_PKG_VERSION"),
        allowed_hosts,
        authentication,
        tokens,
        trusted_proxies: args.trusted_proxies.clone().unwrap_or_default(),
    };
    let router = db_locks_api::router(service, &config);

    spawn_critical(watch(files));
    let listeners = addresses.listen()?;
    for listener in &listeners {
        tracing::info!(address = %listener.local_addr()?, "listening");
    }
    let grace = Duration::from_millis(args.shutdown_grace_ms);
    let drain = engine.drain(grace / 2);
    let max_connections =
        descriptors::max_http_connections(args.max_http_connections, database.max_connections);
    let options = ServeOptions { max_connections, requires_credentials, grace, tls };
    Box::pin(db_locks_api::serve(listeners, router, options, until_asked_to_stop(), drain)).await;
    audit.flush();
    tracing::info!("stopped");
    Ok(())
}

fn log_start(place: &DatabasePlace) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        dialect = place.dialect,
        host = place.host,
        database = place.database,
        "starting"
    );
}

/// Opens the audit log, if one is configured, and again at SIGHUP.
fn start_audit(args: &ServeArgs) -> Result<AuditLog, Failure> {
    let audit = match &args.audit_log {
        Some(output) => AuditLog::start(output.clone())?,
        None => AuditLog::off(),
    };
    let reopened = audit.clone();
    hangup::on_hangup(move || reopened.reopen())?;
    Ok(audit)
}

/// Connects to the database. Brings its schema up to date first, or checks it.
async fn open(options: &DatabaseOptions, migrate: bool) -> Result<Arc<dyn Database>, StoreError> {
    if migrate {
        store::migrate_up(options).await?;
    } else {
        store::check_schema(options).await?;
    }
    let store = store::connect(options).await?;
    store.check_ready().await?;
    for weakness in store.weak_settings().await? {
        tracing::warn!(setting = weakness, "the database promises less durability than a lock service needs");
    }
    Ok(store)
}

async fn start_engine(
    args: &ServeArgs,
    store: Arc<dyn Database>,
    audit: AuditLog,
) -> Result<Arc<Engine>, StoreError> {
    let engine = Engine::start(store.clone(), engine_options(args, store.as_ref()), audit);
    // Nothing else reads the database's clock before the first request, and audit records contain its time.
    let asked = Instant::now();
    engine.note_time(store.token_time().await?, asked);
    Ok(engine)
}

/// Reads the files of the settings again when they change.
async fn watch(files: Files) {
    let Err(error) = files.watch().await;
    tracing::error!(error = &error as &dyn std::error::Error, "files are not read again when they change");
}

async fn until_asked_to_stop() {
    if let Err(error) = shutdown::asked_to_stop().await {
        tracing::error!(error = &error as &dyn std::error::Error, "signals cannot be heard; stopping");
    }
}

fn limits(args: &ServeArgs) -> Limits {
    Limits {
        max_lease_ms: args.max_lease_ms,
        max_wait_ms: args.max_wait_ms,
        max_waiters_per_key: args.max_waiters_per_key,
        max_waiters: args.max_waiters,
    }
}

fn engine_options(args: &ServeArgs, store: &dyn Store) -> EngineOptions {
    // Few large batches cost a database less than many small ones.
    let default_shards = if store.commits_in_parallel() { args.threads().min(MOST_SHARDS) } else { 1 };
    EngineOptions {
        shards: args.shards.map_or(default_shards, std::num::NonZero::get),
        memory_bytes: args.memory_bytes,
        max_queued: args.max_queued,
        max_queue_wait: Duration::from_millis(args.max_queue_ms),
        max_waiters_per_key: args.max_waiters_per_key,
        max_waiters_per_tenant: args.max_waiters_per_tenant.get(),
        max_waiters: args.max_waiters,
        max_bytes_per_tenant: args.max_bytes_per_tenant,
        guard_wait: Duration::from_millis(args.guard_wait_ms),
        sweep: sweep_options(&args.sweep),
    }
}

fn sweep_options(args: &SweepArgs) -> SweepOptions {
    SweepOptions {
        period_ms: args.sweep_period_ms,
        expired_delete_after_ms: args.expired_delete_after_ms,
        idle_lock_retention_ms: Some(args.idle_lock_retention_ms).filter(|retention_ms| *retention_ms > 0),
        tombstone_retention_ms: args.tombstone_retention_ms,
        floor_settle_ms: args.floor_settle_ms,
    }
}
