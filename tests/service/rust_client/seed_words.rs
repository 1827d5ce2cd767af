//! The calls of the library of 2022, from which db-locks grew.

use db_locks::{
    AcquireLockOptionsBuilder, Client, DeleteLockOptions, LockError, LocksConfig, ReleaseLockOptions,
    SendHeartbeatOptions,
};

use crate::support::{Dialect, service::shared};

async fn lock_service() -> Client {
    let caller = shared(Dialect::Sqlite).await.unwrap();
    let url = format!("http://127.0.0.1:{}", caller.port());
    Client::new(&LocksConfig::new(url).with_owner("test_owner").with_tenant(caller.tenant())).unwrap()
}

#[tokio::test]
async fn a_lock_is_acquired_renewed_and_released() {
    let lock_service = lock_service().await;
    let acquire_opts = AcquireLockOptionsBuilder::new("mylock", 10_000)
        .with_additional_time_to_wait_for_lock_ms(3000)
        .with_refresh_period_ms(10)
        .build();
    let lock = lock_service.acquire_lock(&acquire_opts).await.unwrap();
    assert_eq!(lock.owner.as_deref(), Some("test_owner"));
    assert!(!lock.expired());
    let renew_opts = SendHeartbeatOptions::new(lock.key.clone(), lock.version.clone(), None, 20_000, None);
    let renewed = lock_service.send_heartbeat(&renew_opts).await.unwrap();
    assert!(renewed.remaining() > lock.remaining());
    assert!(lock_service.try_acquire_lock(&acquire_opts).await.unwrap().is_none());
    let release_opts = ReleaseLockOptions::new(lock.key.clone(), lock.version.clone(), None, None);
    assert!(!lock_service.release_lock(&release_opts).await.unwrap().locked);
    assert!(lock_service.get_lock("mylock").await.unwrap().expired());
    lock_service.delete_lock(&DeleteLockOptions::new("mylock", None)).await.unwrap();
    assert!(matches!(lock_service.get_lock("mylock").await, Err(LockError::NotFound(_))));
}

#[tokio::test]
async fn a_semaphore_is_created_and_its_permits_are_locks() {
    let lock_service = lock_service().await;
    let sem_opts = AcquireLockOptionsBuilder::new("my_pool", 10_000).build();
    lock_service.create_semaphore(&sem_opts.to_semaphore(10)).await.unwrap();
    let acquire_opts = AcquireLockOptionsBuilder::new("my_pool", 10_000).with_uses_semaphore(true).build();
    let lock = lock_service.acquire_lock(&acquire_opts).await.unwrap();
    assert_eq!(lock_service.get_semaphore("my_pool").await.unwrap().busy_count, 1);
    assert_eq!(lock_service.get_semaphore_locks("my_pool").await.unwrap()[0].version, lock.version);
    let renew_opts = SendHeartbeatOptions::new(lock.key.clone(), lock.version.clone(), None, 2000, None);
    lock_service.send_heartbeat(&renew_opts).await.unwrap();
    lock_service.release_lock(&lock.to_release_options()).await.unwrap();
    lock_service.delete_semaphore(&DeleteLockOptions::new("my_pool", None)).await.unwrap();
}
