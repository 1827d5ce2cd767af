//! How urgent commands and all others share a batch or a load.
//!
//! Urgent commands go first, but a quarter of the places is kept for the others while any wait: a flood of heartbeats
//! starves no acquire.

/// The part of the places that is kept for commands that are not urgent: one of so many.
pub(super) const KEPT_PART: usize = 4;

/// How many of `most` places urgent work may take while `others` pieces of other work wait.
pub(super) const fn most_urgent(most: usize, others: usize) -> usize {
    let kept = most / KEPT_PART;
    most - if others < kept { others } else { kept }
}

/// How many of `most` bytes urgent work may take while `others` pieces of other work wait, however few.
pub(super) const fn most_urgent_bytes(most: usize, others: usize) -> usize {
    if others == 0 { most } else { most_urgent(most, most) }
}

/// Splits `most` places between the pieces of urgent and of other work that wait.
pub(super) fn split(most: usize, urgent: usize, others: usize) -> (usize, usize) {
    let urgent = urgent.min(most_urgent(most, others));
    (urgent, others.min(most - urgent))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that a flood of heartbeats starves no acquire, and a flood of acquires no heartbeat.
    #[test]
    fn urgent_work_goes_first_and_leaves_a_quarter_to_the_rest() {
        assert_eq!(split(8, 100, 100), (6, 2));
        assert_eq!(split(8, 100, 1), (7, 1));
        assert_eq!(split(8, 100, 0), (8, 0));
        assert_eq!(split(8, 1, 100), (1, 7));
        assert_eq!(split(8, 3, 2), (3, 2));
    }
}
