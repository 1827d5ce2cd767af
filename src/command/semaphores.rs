//! `permits`, and `semaphore put`, `get`, `list`, `delete`.

use db_locks::{AcquireLockOptionsBuilder, DeleteLockOptions, ListOptions, LockService};

use super::{
    args::{CallArgs, KeyArgs, SemaphoreListArgs, SemaphorePutArgs},
    connect,
    exit::Failure,
    locks::all,
    output::{show, show_deleted, show_list},
    time::Time,
};

pub(super) async fn permits(args: CallArgs<KeyArgs>) -> Result<(), Failure> {
    show_list(&connect(&args.connect).await?.get_semaphore_locks(&args.call.key).await?, args.output)
}

pub(super) async fn put(args: CallArgs<SemaphorePutArgs>) -> Result<(), Failure> {
    // Zero leaves the lease as it is.
    let lease = args.call.lease.map_or(0, Time::millis);
    let options = AcquireLockOptionsBuilder::new(args.call.key, lease).with_guarded(args.call.guarded);
    let semaphore = options.build().to_semaphore(args.call.max_size);
    show(&connect(&args.connect).await?.create_semaphore(&semaphore).await?, args.output)
}

pub(super) async fn get(args: CallArgs<KeyArgs>) -> Result<(), Failure> {
    show(&connect(&args.connect).await?.get_semaphore(&args.call.key).await?, args.output)
}

pub(super) async fn list(args: CallArgs<SemaphoreListArgs>) -> Result<(), Failure> {
    let options = ListOptions { prefix: args.call.prefix, ..ListOptions::default() };
    let client = connect(&args.connect).await?;
    let service: &dyn LockService = &*client;
    let semaphores =
        all(args.call.page.limit, options, async |options| service.list_semaphores(options).await).await?;
    show_list(&semaphores, args.output)
}

pub(super) async fn delete(args: CallArgs<KeyArgs>) -> Result<(), Failure> {
    connect(&args.connect)
        .await?
        .delete_semaphore(&DeleteLockOptions::new(args.call.key.clone(), None))
        .await?;
    show_deleted(&args.call.key, args.output)
}
