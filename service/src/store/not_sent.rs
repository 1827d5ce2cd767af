//! Why a statement was not sent over a connection that the server had accepted.

use sea_orm::sqlx;

/// Why a statement was not sent, as this program found after the server had accepted the connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSent {
    /// The server does not accept writes.
    #[error("the server takes no writes: {0}")]
    ReadOnly(&'static str),
    /// Several servers accept writes, and it is unknown which of them is the right one.
    #[error("two writable servers: {0} accept writes; make all but one of them read-only")]
    SeveralWritable(String),
    /// A setting that correctness needs differs from the value that it was set to.
    #[error("the session's setting {setting} is {found}, though it was set to {wanted}")]
    WrongSetting { setting: &'static str, found: String, wanted: &'static str },
    /// Another server was chosen while the connection was made.
    #[error("another server was chosen while this one was connected to")]
    ServerChanged,
    /// The pooler in front of the database has led a connection to another server, or the server is now of another
    /// kind.
    #[error("the connection leads to another server than before")]
    OtherServer,
    /// The row of the epoch cannot be read or changed, or the database's clock is beyond all epochs.
    #[error("the epoch of fencing tokens cannot be determined: {0}")]
    UnusableEpoch(&'static str),
    /// The write was decided under an earlier epoch.
    #[error("the write was decided under an earlier epoch")]
    EarlierEpoch,
}

impl From<NotSent> for sqlx::Error {
    fn from(reason: NotSent) -> Self {
        Self::Configuration(Box::new(reason))
    }
}
