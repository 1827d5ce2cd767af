//! The epoch of fencing tokens. It is raised when the database's server is another one than before, or was restarted.
//!
//! A standby that is promoted may lack the last commits, and so may a server after a crash. So every new connection is
//! checked before its first write: the server's identity is compared with the one that is stored beside the epoch. If
//! they differ, a conditional write raises the epoch. Grants that were decided under an earlier epoch are then refused,
//! and decided again.

mod by_hand;
mod check;
mod identity;
mod sql;

pub use self::by_hand::{RaisedByHand, raise_epoch};
