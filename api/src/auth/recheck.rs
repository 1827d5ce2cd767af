//! When a credential has to be checked again.

use std::time::Duration;

/// What was admitted this long ago takes effect only after another check of its credential: a grant after a wait, and a request whose body
/// was long on its way. A token counts for 1.6 s after the database was asked for it, and a change of tokens may wait for another 0.2 s.
/// So nothing begins more than 2 s after a revocation.
pub(crate) const RECHECK_AFTER: Duration = Duration::from_millis(200);
