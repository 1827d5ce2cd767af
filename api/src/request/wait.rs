//! The fields for the waiting time of an acquire.

use db_locks_service::Limits;

use super::Fields;

const ADDITIONAL: &str = "additional_time_to_wait_for_lock_ms";

/// The largest `refresh_period_ms`.
pub(super) const MAX_REFRESH_PERIOD_MS: i64 = 600_000;

/// How long an acquire waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    /// The value of `wait_ms`; `None` means the length of the lease.
    pub(crate) wait_ms: Option<i64>,
    /// The additional time.
    pub(crate) additional_ms: i64,
}

impl Wait {
    /// Reads the fields, and checks their sum against the longest wait.
    pub(crate) fn read(fields: &mut Fields<'_>, limits: &Limits) -> Self {
        let most = limits.max_wait_ms;
        let wait_ms = fields.integer("wait_ms", 0, most);
        let additional_ms = fields.integer(ADDITIONAL, 0, most).unwrap_or(0);
        if wait_ms.is_some_and(|wait_ms| wait_ms + additional_ms > most) {
            fields.error(ADDITIONAL, format!("must not exceed {most} together with wait_ms"));
        }
        Self { wait_ms, additional_ms }
    }
}

/// Checks `refresh_period_ms`, the poll interval of the original library. The service does not poll, so the field has no other
/// effect.
pub(crate) fn check_refresh_period(fields: &mut Fields<'_>) {
    fields.integer("refresh_period_ms", 1, MAX_REFRESH_PERIOD_MS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Errors;

    fn read(body: &str) -> (Wait, Vec<String>) {
        let mut errors = Errors::default();
        let mut fields = Fields::parse(body.as_bytes(), &mut errors);
        let wait = Wait::read(&mut fields, &Limits::default());
        fields.finish(Vec::new);
        (wait, errors.pairs().into_iter().map(|(field, _)| field.to_owned()).collect())
    }

    #[test]
    fn the_sum_as_given_is_limited() {
        let limit = r#"{"wait_ms":500000,"additional_time_to_wait_for_lock_ms":100000}"#;
        assert_eq!(read(limit), (Wait { wait_ms: Some(500_000), additional_ms: 100_000 }, vec![]));
        let over = r#"{"wait_ms":500001,"additional_time_to_wait_for_lock_ms":100000}"#;
        assert_eq!(read(over).1, [ADDITIONAL]);
        assert_eq!(read(r#"{"wait_ms":600001}"#).1, ["wait_ms"]);
        assert_eq!(read(r#"{"additional_time_to_wait_for_lock_ms":600001}"#).1, [ADDITIONAL]);
    }

    #[test]
    fn a_default_is_not_held_against_the_limit() {
        let (wait, errors) = read(r#"{"additional_time_to_wait_for_lock_ms":600000}"#);
        assert_eq!(wait, Wait { wait_ms: None, additional_ms: 600_000 });
        assert!(errors.is_empty());
    }
}
