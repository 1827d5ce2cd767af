//! Measures the work that the frames of an HTTP/2 connection are, so that it can end a turn.
//!
//! Frames may be no requests of a turn: h2 refuses streams beyond the limit, and it answers malformed heads. For a head each byte may refer
//! to a header that h2 remembers, so that 16 KiB take more than a millisecond.

/// The work of a turn, in frames. The frames of the last piece come on top.
pub(super) const MOST_OF_TURN: usize = 128;
/// The number of frames that take as long as a request, at most.
const FRAMES_OF_REQUEST: usize = 8;
/// So many bytes of a head take as long as a frame, at most.
const BYTES_OF_FRAME: usize = 128;

/// The work of a connection's frames, in frames.
#[derive(Debug, Default)]
pub(super) struct FrameWork {
    /// The work that [`Self::take_requests`] has not returned.
    left: usize,
    /// The work of the frames that were read in a row.
    in_a_row: usize,
}

impl FrameWork {
    /// Adds a frame. h2 decodes so many `bytes` of it.
    pub(super) const fn add(&mut self, bytes: usize) {
        let work = 1 + bytes / BYTES_OF_FRAME;
        self.left += work;
        self.in_a_row += work;
    }

    /// The number of requests that take as long as the frames since the last call. `None` while they are few.
    pub(super) fn take_requests(&mut self) -> Option<usize> {
        (self.left >= MOST_OF_TURN).then(|| std::mem::take(&mut self.left) / FRAMES_OF_REQUEST)
    }

    /// Whether so many frames were read in a row that the turn should end. Then the next ones are counted anew.
    pub(super) const fn ends_turn(&mut self) -> bool {
        let ends = self.in_a_row >= MOST_OF_TURN;
        if ends {
            self.in_a_row = 0;
        }
        ends
    }

    /// Notes that everything that has arrived was read.
    pub(super) const fn all_read(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_head_is_the_work_of_a_turn_and_short_ones_add_up() {
        for (bytes, frames) in
            [(16 * 1024, 1), (BYTES_OF_FRAME - 1, MOST_OF_TURN), (BYTES_OF_FRAME, MOST_OF_TURN / 2)]
        {
            let mut work = FrameWork::default();
            for _ in 0..frames {
                assert!(!work.ends_turn() && work.take_requests().is_none());
                work.add(bytes);
            }
            assert!(work.ends_turn() && !work.ends_turn());
            assert_eq!(work.take_requests(), Some(MOST_OF_TURN / FRAMES_OF_REQUEST));
            assert!(work.take_requests().is_none());
        }
    }

    #[test]
    fn frames_that_come_one_after_the_other_end_no_turn_but_take_time() {
        let mut work = FrameWork::default();
        for frame in 1..=MOST_OF_TURN {
            work.add(0);
            work.all_read();
            assert!(!work.ends_turn());
            assert_eq!(work.take_requests().is_some(), frame == MOST_OF_TURN);
        }
    }
}
