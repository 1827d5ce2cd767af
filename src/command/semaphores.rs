//! `permits`, and `semaphore put`, `get`, `list`, `delete`.

use db_locks::{AcquireLockOptionsBuilder, DeleteLockOptions, ListOptions, LockService};

use super::{
    args::{KeyArgs, SemaphoreListArgs, SemaphorePutArgs, Time},
    connect,
    exit::Failure,
    locks::all,
    output::{show, show_deleted, show_list},
};

pub(super) async fn permits(args: KeyArgs) -> Result<(), Failure> {
    show_list(&connect(&args.connect).await?.get_semaphore_locks(&args.key).await?, args.output)
}

pub(super) async fn put(args: SemaphorePutArgs) -> Result<(), Failure> {
    // Zero leaves the lease as it is.
    let lease = args.lease.map_or(0, Time::millis);
    let options = AcquireLockOptionsBuilder::new(args.key, lease).with_guarded(args.guarded);
    let semaphore = options.build().to_semaphore(args.max_size);
    show(&connect(&args.connect).await?.create_semaphore(&semaphore).await?, args.output)
}

pub(super) async fn get(args: KeyArgs) -> Result<(), Failure> {
    show(&connect(&args.connect).await?.get_semaphore(&args.key).await?, args.output)
}

pub(super) async fn list(args: SemaphoreListArgs) -> Result<(), Failure> {
    let options = ListOptions { prefix: args.prefix, ..ListOptions::default() };
    let client = connect(&args.connect).await?;
    let service: &dyn LockService = &*client;
    let semaphores =
        all(args.page.limit, options, async |options| service.list_semaphores(options).await).await?;
    show_list(&semaphores, args.output)
}

pub(super) async fn delete(args: KeyArgs) -> Result<(), Failure> {
    connect(&args.connect).await?.delete_semaphore(&DeleteLockOptions::new(args.key.clone(), None)).await?;
    show_deleted(&args.key, args.output)
}
