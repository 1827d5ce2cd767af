//! `acquire`, `heartbeat`, `release`, `get`, `list`.

use std::time::Duration;

use db_locks::{
    AcquireLockOptions, ListOptions, LockItem, LockService, Page, ReleaseLockOptions, SendHeartbeatOptions,
};

use super::{
    args::{AcquireArgs, GrantArgs, HeartbeatArgs, KeyArgs, ListArgs, ReleaseArgs, Time},
    connect,
    exit::Failure,
    output::{show, show_list},
    run::default_owner,
    wait::Wait,
};

/// How long `acquire` waits by default, as over HTTP.
const DEFAULT_WAIT: Duration = Duration::from_secs(15);

pub(super) async fn acquire(args: AcquireArgs) -> Result<(), Failure> {
    let wait = Wait::of(&args.wait, DEFAULT_WAIT);
    let client = wait.connect(&args.connect).await?;
    wait.require_service(&*client, &args.key).await?;
    let options = AcquireLockOptions {
        key: args.key,
        lease_duration_ms: args.lease.map_or(0, Time::millis),
        override_time_to_wait_for_lock_ms: Some(Time(wait.rest()).millis()),
        owner: Some(args.owner.unwrap_or_else(default_owner)),
        data: args.data,
        guarded: args.guarded.then_some(true),
        version: args.grant_version,
        uses_semaphore: args.semaphore,
        fails_when_turned_away: !wait.is_asked_for(),
        ..AcquireLockOptions::default()
    };
    show(&client.acquire_lock(&options).await?, args.output)
}

pub(super) async fn heartbeat(args: HeartbeatArgs) -> Result<(), Failure> {
    let GrantArgs { key, grant_version } = args.grant;
    let options = SendHeartbeatOptions::new(key, grant_version, None, 0, None);
    let lease = args.lease.map(Time::millis);
    let options = SendHeartbeatOptions { lease_duration_ms: lease, ..options };
    show(&connect(&args.connect).await?.send_heartbeat(&options).await?, args.output)
}

pub(super) async fn release(args: ReleaseArgs) -> Result<(), Failure> {
    let mut options =
        ReleaseLockOptions::new(args.key, args.grant_version, args.delete.then_some(true), None);
    if args.force {
        options = options.by_force(args.reason);
    }
    show(&connect(&args.connect).await?.release_lock(&options).await?, args.output)
}

pub(super) async fn get(args: KeyArgs) -> Result<(), Failure> {
    show(&connect(&args.connect).await?.get_lock(&args.key).await?, args.output)
}

pub(super) async fn list(args: ListArgs) -> Result<(), Failure> {
    let options = ListOptions {
        prefix: args.prefix,
        owner: args.owner,
        locked: (args.locked || args.free).then_some(args.locked),
        ..ListOptions::default()
    };
    let client = connect(&args.connect).await?;
    let service: &dyn LockService = &*client;
    let locks: Vec<LockItem> =
        all(args.page.limit, options, async |options| service.list_locks(options).await).await?;
    show_list(&locks, args.output)
}

/// All pages of a list, up to `limit` items.
pub(super) async fn all<T>(
    limit: Option<u32>,
    mut options: ListOptions,
    page: impl AsyncFn(&ListOptions) -> db_locks::LockResult<Page<T>>,
) -> Result<Vec<T>, Failure> {
    /// As many as the service puts on a page at most.
    const LARGEST_PAGE: u32 = 1_000;
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut items = Vec::new();
    loop {
        let rest = u32::try_from(limit - items.len()).unwrap_or(u32::MAX);
        options.limit = Some(rest.min(LARGEST_PAGE));
        let found = page(&options).await?;
        items.extend(found.items);
        items.truncate(limit);
        match found.next_cursor {
            Some(cursor) if items.len() < limit => options.cursor = Some(cursor),
            _ => return Ok(items),
        }
    }
}
