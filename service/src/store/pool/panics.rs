//! Turns panics of a driver into errors.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use sea_orm::sqlx;

/// Runs the work. If the driver panics, it could not read the answer, and the outcome of the statement is unknown.
///
/// sqlx panics at an `OK` packet in place of a row. A Galera node answers so when another node's commit undid a
/// statement with `RETURNING` that was certified already: the node repeats the statement, and only reports its success.
/// The connection is closed, so its state after the panic is never used.
pub(super) async fn unless_panicked<T>(
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let result = AssertUnwindSafe(work).catch_unwind().await;
    result.unwrap_or_else(|_| {
        tracing::warn!("the driver panicked at an answer of the database; the connection is closed");
        Err(sqlx::Error::Protocol("the driver panicked at the answer".to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use sea_orm::DbErr;

    use super::*;
    use crate::store::{
        StoreError,
        classify::{Purpose, Reaction, classify, reaction},
        pool::failed,
    };

    #[tokio::test]
    async fn after_a_panic_of_the_driver_the_outcome_is_unknown_and_the_connection_is_not_used_again() {
        let answer = [0_u8; 4];
        let read_past_its_end = async |length: usize| Ok(answer[..length].to_vec());
        let Err(error) = unless_panicked(read_past_its_end(8)).await else { panic!("nothing was read") };
        assert_ne!(reaction(&error), Reaction::Keep);
        let error: DbErr = failed(error);
        assert!(matches!(classify(error, Purpose::Write), StoreError::Unknown(_)));
    }
}
