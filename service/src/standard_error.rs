//! Standard error, where the log and the audit log meet. Each of them has a thread that writes, and only these threads wait for the
//! reader.

use std::io::{self, ErrorKind, Write};

use tokio::sync::Mutex;

/// The maximum number of bytes that are written in one turn.
const MOST_BYTES: usize = 64 << 10;

/// The turn to write. It is fair, unlike the lock in [`io::Stderr`], so an audit log without a pause does not keep the log waiting.
static TURN: Mutex<()> = Mutex::const_new(());

/// Writes some of the lines, and returns the number of bytes. Waits for the reader, so no thread that serves requests may call
/// this.
///
/// # Errors
/// If nothing could be written.
pub fn write_to_stderr(lines: &[u8]) -> io::Result<usize> {
    let _turn = TURN.blocking_lock();
    write_piece(&mut io::stderr().lock(), piece(lines))
}

/// As many whole lines as a turn has room for, or a single line that is longer.
fn piece(lines: &[u8]) -> &[u8] {
    let Some(most) = lines.get(..MOST_BYTES) else { return lines };
    let is_end = |byte: &u8| *byte == b'\n';
    let end = most.iter().rposition(is_end).or_else(|| lines.iter().position(is_end));
    end.map_or(lines, |end| &lines[..=end])
}

/// Writes a piece within one turn, even if a signal interrupts the write. After an error returns what was written before it.
fn write_piece(output: &mut impl Write, piece: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < piece.len() {
        match output.write(&piece[written..]) {
            Ok(0) => break,
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if written == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(written)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn a_turn_writes_whole_lines_of_at_most_64_kib() {
        let line = [&[b'a'; 999][..], b"\n"].concat();
        assert_eq!(piece(&line.repeat(65)).len(), 65_000);
        assert_eq!(piece(&line.repeat(66)).len(), 65_000);
        assert_eq!(piece(&[&*vec![b'a'; MOST_BYTES - 1], b"\nb\n"].concat()).len(), MOST_BYTES);
    }

    #[test]
    fn a_line_that_is_longer_than_a_turn_is_written_alone() {
        let long = [&*vec![b'a'; 2 * MOST_BYTES], b"\n"].concat();
        assert_eq!(piece(&[&long[..], b"next\n"].concat()), long);
    }

    /// Takes three bytes at a time, is interrupted now and then, and becomes full.
    struct Slow {
        taken: Vec<u8>,
        calls: usize,
        room: usize,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(2) {
                return Err(ErrorKind::Interrupted.into());
            }
            let part = &bytes[..bytes.len().min(3).min(self.room - self.taken.len())];
            if part.is_empty() {
                return Err(ErrorKind::StorageFull.into());
            }
            self.taken.extend_from_slice(part);
            Ok(part.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_piece_that_is_written_in_parts_is_written_as_far_as_possible() {
        let mut output = Slow { taken: Vec::new(), calls: 0, room: 13 };
        assert_eq!(write_piece(&mut output, b"a line\n").unwrap(), 7);
        assert_eq!(write_piece(&mut output, b"a line\n").unwrap(), 6);
        assert_eq!(write_piece(&mut output, b"\n").unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(output.taken, b"a line\na line");
    }
}
