//! The order of those who write to a SQLite file.

use std::task::{Context, Waker};

use super::*;

#[tokio::test]
async fn writers_take_turns_in_order_and_a_permit_is_exclusive() {
    let writer = SqliteWriter {
        worker: Worker::without_a_thread(),
        order: RwLock::default(),
        noticed: Arc::default(),
        epochs: Arc::default(),
    };
    let mut context = Context::from_waker(Waker::noop());
    let batches = (writer.order.read().await, writer.order.read().await);
    let mut permit = Box::pin(writer.exclusive_permit());
    let mut late = Box::pin(writer.order.read());
    assert!(permit.as_mut().poll(&mut context).is_pending());
    assert!(late.as_mut().poll(&mut context).is_pending(), "it came after the permit");
    drop(batches);
    let permit = permit.await;
    assert!(late.as_mut().poll(&mut context).is_pending());
    drop(permit);
    assert!(late.as_mut().poll(&mut context).is_ready());
}
