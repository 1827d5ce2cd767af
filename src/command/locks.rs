//! `acquire`, `heartbeat`, `release`, `get`, `list`.

use std::time::Duration;

use db_locks::{
    AcquireLockOptions, ListOptions, LockItem, LockService, Page, ReleaseLockOptions, SendHeartbeatOptions,
};

use super::{
    args::{AcquireArgs, CallArgs, GrantArgs, HeartbeatArgs, KeyArgs, ListArgs, ReleaseArgs, TakeArgs},
    connect,
    exit::Failure,
    output::{show, show_list},
    run::default_owner,
    time::Time,
    wait::Wait,
};

/// How long `acquire` waits by default, as over HTTP.
const DEFAULT_WAIT: Duration = Duration::from_secs(15);

pub(super) async fn acquire(args: CallArgs<AcquireArgs>) -> Result<(), Failure> {
    let AcquireArgs { lease, take, data, grant_version } = args.call;
    let TakeArgs { key, wait, semaphore, guarded, owner } = take;
    let wait = Wait::of(&wait, DEFAULT_WAIT);
    let client = wait.connect(&args.connect).await?;
    wait.require_service(&*client, &key).await?;
    let options = AcquireLockOptions {
        key,
        lease_duration_ms: lease.map_or(0, Time::millis),
        override_time_to_wait_for_lock_ms: Some(Time(wait.rest()).millis()),
        owner: Some(owner.unwrap_or_else(default_owner)),
        data,
        guarded: guarded.then_some(true),
        version: grant_version,
        uses_semaphore: semaphore,
        fails_when_turned_away: !wait.is_asked_for(),
        ..AcquireLockOptions::default()
    };
    show(&client.acquire_lock(&options).await?, args.output)
}

pub(super) async fn heartbeat(args: CallArgs<HeartbeatArgs>) -> Result<(), Failure> {
    let HeartbeatArgs { grant: GrantArgs { key, grant_version }, lease } = args.call;
    let options = SendHeartbeatOptions::new(key, grant_version, None, 0, None);
    let options = SendHeartbeatOptions { lease_duration_ms: lease.map(Time::millis), ..options };
    show(&connect(&args.connect).await?.send_heartbeat(&options).await?, args.output)
}

pub(super) async fn release(args: CallArgs<ReleaseArgs>) -> Result<(), Failure> {
    let ReleaseArgs { key, grant_version, force, reason, delete } = args.call;
    let mut options = ReleaseLockOptions::new(key, grant_version, delete.then_some(true), None);
    if force {
        options = options.by_force(reason);
    }
    show(&connect(&args.connect).await?.release_lock(&options).await?, args.output)
}

pub(super) async fn get(args: CallArgs<KeyArgs>) -> Result<(), Failure> {
    show(&connect(&args.connect).await?.get_lock(&args.call.key).await?, args.output)
}

pub(super) async fn list(args: CallArgs<ListArgs>) -> Result<(), Failure> {
    let ListArgs { prefix, owner, locked, free, page } = args.call;
    let locked = (locked || free).then_some(locked);
    let options = ListOptions { prefix, owner, locked, ..ListOptions::default() };
    let client = connect(&args.connect).await?;
    let service: &dyn LockService = &*client;
    let locks: Vec<LockItem> =
        all(page.limit, options, async |options| service.list_locks(options).await).await?;
    show_list(&locks, args.output)
}

/// All pages of a list, up to `limit` items.
pub(super) async fn all<T>(
    limit: Option<u32>,
    mut options: ListOptions,
    page: impl AsyncFn(&ListOptions) -> db_locks::LockResult<Page<T>>,
) -> Result<Vec<T>, Failure> {
    /// The largest page of the service.
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
