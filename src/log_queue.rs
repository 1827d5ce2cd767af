//! The lines of the log that wait to be written, so that no thread that logs waits for the reader.

use std::{
    io::{self, Write},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The most bytes that may wait: some thousands of lines.
const MOST_BYTES: usize = 1 << 20;

/// Lines on their way to the thread that writes them.
#[derive(Debug)]
pub(crate) struct LogQueue {
    waiting: Mutex<Waiting>,
    /// Notified when the writer has something to do.
    added: Condvar,
    /// Notified when the writer has done everything.
    written: Condvar,
}

#[derive(Debug)]
struct Waiting {
    lines: Vec<u8>,
    /// The number of lines that found no room.
    lost: u64,
    is_writing: bool,
}

impl Waiting {
    const fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.lost == 0
    }
}

impl LogQueue {
    pub(crate) const fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting { lines: Vec::new(), lost: 0, is_writing: false }),
            added: Condvar::new(),
            written: Condvar::new(),
        }
    }

    /// Adds a line. Never waits: a line without room is lost, and counted.
    fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.lines.len() + line.len() <= MOST_BYTES {
            waiting.lines.extend_from_slice(line);
        } else {
            waiting.lost += 1;
        }
        if !waiting.is_writing {
            drop(waiting);
            self.added.notify_one();
        }
    }

    /// Writes lines without end. `write` writes some of the lines, and returns the number of bytes. `report` logs how many lines were
    /// lost.
    pub(crate) fn write_without_end(
        &self,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
        report: impl Fn(u64),
    ) {
        let mut lines = Vec::new();
        loop {
            let lost = self.take(&mut lines);
            if lost > 0 {
                // Now, since the queue was emptied: there is room for this line, too.
                report(lost);
            }
            write_lines(&lines, &mut write);
            lines.clear();
        }
    }

    /// Waits until the lines so far are written, but not longer than this. Returns whether they are.
    pub(crate) fn flush(&self, within: Duration) -> bool {
        let is_unwritten = |waiting: &mut Waiting| waiting.is_writing || !waiting.is_empty();
        let waited = self.written.wait_timeout_while(self.lock(), within, is_unwritten);
        let (_waiting, time) = waited.unwrap_or_else(PoisonError::into_inner);
        !time.timed_out()
    }

    /// Waits for lines, and moves them into `lines`, which has to be empty. Returns the number of lines that were lost.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        let mut waiting = self.lock();
        waiting.is_writing = false;
        if waiting.is_empty() {
            self.written.notify_all();
        }
        let waited = self.added.wait_while(waiting, |waiting| waiting.is_empty());
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.is_writing = true;
        std::mem::swap(&mut waiting.lines, lines);
        std::mem::take(&mut waiting.lost)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes lines as far as possible. If standard error is full or gone, there is no other place to say so.
fn write_lines(mut lines: &[u8], write: &mut impl FnMut(&[u8]) -> io::Result<usize>) {
    while !lines.is_empty() {
        match write(lines) {
            Ok(0) | Err(_) => return,
            Ok(written) => lines = &lines[written..],
        }
    }
}

impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::{
        sync::{Arc, mpsc},
        thread,
    };

    use super::*;

    /// More than anything here takes on a busy machine.
    const LONG: Duration = Duration::from_secs(20);

    /// A queue whose reader takes what it is given only when a test says so.
    struct Stuck {
        queue: Arc<LogQueue>,
        offered: mpsc::Receiver<Vec<u8>>,
        takes: mpsc::Sender<()>,
    }

    impl Stuck {
        fn new() -> Self {
            let queue = Arc::new(LogQueue::new());
            let (offer, offered) = mpsc::channel();
            let (takes, is_taken) = mpsc::channel();
            let writer = queue.clone();
            thread::spawn(move || {
                let write = |lines: &[u8]| {
                    offer.send(lines.to_vec()).unwrap();
                    is_taken.recv().map_err(io::Error::other)?;
                    Ok(lines.len())
                };
                writer.write_without_end(write, |lost| writer.push(format!("{lost} lost\n").as_bytes()));
            });
            Self { queue, offered, takes }
        }

        /// Takes what is written next.
        fn read(&self) -> String {
            let lines = self.offered.recv_timeout(LONG).unwrap();
            self.takes.send(()).unwrap();
            String::from_utf8(lines).unwrap()
        }
    }

    /// Guards requests against a reader of standard error that has stopped.
    #[test]
    fn no_line_waits_for_the_reader_and_lost_lines_are_counted() {
        let stuck = Stuck::new();
        stuck.queue.push(b"first\n");
        let first = stuck.offered.recv_timeout(LONG).unwrap();
        assert_eq!(first, b"first\n");
        let line = [&[b'a'; 1_023][..], b"\n"].concat();
        for _ in 0..1_024 + 5 {
            stuck.queue.push(&line);
        }
        stuck.takes.send(()).unwrap();
        assert_eq!(stuck.read().lines().count(), 1_024);
        assert_eq!(stuck.read(), "5 lost\n");
        stuck.queue.push(b"last\n");
        assert_eq!(stuck.read(), "last\n");
    }

    #[test]
    fn a_flush_waits_for_the_lines_before_it_but_not_for_ever() {
        let stuck = Stuck::new();
        assert!(stuck.queue.flush(LONG), "there is nothing to write");
        stuck.queue.push(b"a\n");
        assert!(!stuck.queue.flush(Duration::from_millis(1)), "nobody has taken it");
        assert_eq!(stuck.read(), "a\n");
        assert!(stuck.queue.flush(LONG));
    }

    #[test]
    fn lines_that_cannot_be_written_are_not_tried_for_ever() {
        let mut tried = 0;
        write_lines(b"a\nb\n", &mut |_: &[u8]| {
            tried += 1;
            if tried == 1 { Ok(2) } else { Err(io::ErrorKind::StorageFull.into()) }
        });
        assert_eq!(tried, 2);
    }
}
