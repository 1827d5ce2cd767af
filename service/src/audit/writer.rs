//! The thread that writes records.

use std::sync::Arc;

use super::{
    AuditError, AuditOutput,
    output::Opened,
    queue::{Batch, Queue, dropped},
};

/// The size in bytes above which a buffer is not kept.
const MOST_KEPT_BYTES: usize = 512 << 10;

/// Writes records to an output.
#[derive(Debug)]
pub(super) struct Writer {
    output: AuditOutput,
    opened: Opened,
    queue: Arc<Queue>,
    batch: Batch,
    /// The rest of a line that was written in part. It is written before everything else.
    unfinished: Vec<u8>,
}

impl Writer {
    /// Opens the output.
    pub(super) fn open(output: AuditOutput, queue: Arc<Queue>) -> Result<Self, AuditError> {
        let opened = output.open()?;
        Ok(Self { output, opened, queue, batch: Batch::default(), unfinished: Vec::new() })
    }

    /// Writes lines until nobody can send any more.
    pub(super) fn run(mut self) {
        while let Some(orders) = self.queue.take(&mut self.batch) {
            if orders.reopen {
                self.reopen();
            }
            self.write();
            for done in orders.flushes {
                // The receiver is gone if the caller gave up waiting.
                let _ = done.send(());
            }
        }
    }

    /// Opens the file again. If that fails, the old file is kept: an operator who moved it finds the records there.
    fn reopen(&mut self) {
        match self.output.open() {
            Ok(opened) => {
                if !self.unfinished.is_empty() {
                    self.unfinished.clear();
                    dropped(1, "the file was replaced while a line was unfinished");
                }
                self.opened = opened;
                tracing::info!("the audit log was reopened");
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the audit log cannot be reopened, and stays in the old file"
                );
            }
        }
    }

    /// Writes the collected lines. Lines that cannot be written are dropped, but for the rest of a line that was begun.
    fn write(&mut self) {
        let begun = self.unfinished.len();
        let mut bytes = std::mem::take(&mut self.batch.lines);
        bytes.splice(..0, self.unfinished.drain(..));
        let mut written = 0;
        while written < bytes.len() {
            match self.opened.write(&bytes[written..]) {
                Ok(0) => return self.give_up(&bytes, begun, written, "nothing can be written"),
                Ok(more) => written += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return self.give_up(&bytes, begun, written, &error.to_string()),
            }
        }
        self.keep_buffer(bytes);
    }

    /// Keeps the rest of the line that was written in part, up to byte `written`, and drops the lines after it.
    fn give_up(&mut self, bytes: &[u8], begun: usize, written: usize, cause: &str) {
        let is_within_line = written < begun || (written > 0 && bytes[written - 1] != b'\n');
        let end = bytes[written..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(bytes.len(), |at| written + at + 1);
        let lost = if is_within_line { end } else { written };
        self.unfinished = bytes[written..lost].to_vec();
        let lines = bytes[lost..].split(|byte| *byte == b'\n').skip(1).count();
        dropped(lines as u64, cause);
    }

    /// Keeps the buffer for the next lines, unless it has become large.
    fn keep_buffer(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= MOST_KEPT_BYTES {
            bytes.clear();
            self.batch.lines = bytes;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::{
        fs::File,
        io::{ErrorKind, Read as _},
        os::{fd::OwnedFd, unix::net::UnixStream},
    };

    use super::*;

    /// Reads everything that is there.
    fn read_all(stream: &mut UnixStream, text: &mut Vec<u8>) {
        let error = stream.read_to_end(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }

    /// A socket that accepts only a part stands for a disk that becomes full within a line.
    #[test]
    fn a_line_that_was_begun_is_finished_before_the_next() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let opened = Opened::File(File::from(OwnedFd::from(ours)));
        let (queue, batch) = (Arc::default(), Batch::default());
        let mut writer = Writer { output: AuditOutput::Stderr, opened, queue, batch, unfinished: Vec::new() };
        let mut text = Vec::new();
        for _ in 0..2 {
            for number in 0..100_000 {
                writer.batch.lines.extend_from_slice(format!("{number:0>96}\n").as_bytes());
            }
            writer.write();
            assert!(writer.batch.lines.is_empty());
            read_all(&mut theirs, &mut text);
        }
        writer.batch.lines.extend_from_slice(b"last\n");
        writer.write();
        read_all(&mut theirs, &mut text);
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let (last, numbers) = lines.split_last().unwrap();
        assert_eq!(*last, "last");
        let numbers: Vec<usize> = numbers.iter().map(|line| line.parse().unwrap()).collect();
        assert!(lines[..lines.len() - 1].iter().all(|line| line.len() == 96));
        let second = numbers.iter().rposition(|number| *number == 0).unwrap();
        assert!(second > 0 && numbers.len() < 200_000, "some were dropped, and some of each were written");
        assert!(numbers[..second].iter().copied().eq(0..second));
        assert!(numbers[second..].iter().copied().eq(0..numbers.len() - second));
    }
}
