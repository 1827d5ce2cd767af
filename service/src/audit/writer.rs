//! The thread that writes records.

use std::sync::{Arc, atomic::Ordering, mpsc::Receiver};

use super::{
    AuditError, AuditOutput, line,
    output::Opened,
    queue::{Message, Shared, dropped},
};

/// The most bytes of records that are written at once, and a little more.
const MOST_BYTES: usize = 256 << 10;

/// Writes records to an output.
#[derive(Debug)]
pub(super) struct Writer {
    output: AuditOutput,
    opened: Opened,
    shared: Arc<Shared>,
    lines: Vec<u8>,
    /// The rest of a line of which only a part could be written: it goes before everything else.
    unfinished: Vec<u8>,
}

impl Writer {
    /// Opens the output.
    pub(super) fn open(output: AuditOutput, shared: Arc<Shared>) -> Result<Self, AuditError> {
        let opened = output.open()?;
        Ok(Self { output, opened, shared, lines: Vec::new(), unfinished: Vec::new() })
    }

    /// Writes what comes until nobody can send any more.
    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        while let Ok(first) = inbox.recv() {
            let mut flushed = Vec::new();
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Record(record) => line::put(&mut self.lines, &record),
                    Message::Reopen => {}
                    Message::Flush(done) => flushed.push(done),
                }
                next = if self.lines.len() < MOST_BYTES { inbox.try_recv().ok() } else { None };
            }
            if self.shared.reopen.swap(false, Ordering::Acquire) {
                self.reopen();
            }
            self.write();
            for done in flushed {
                // Who waited may have given up.
                let _ = done.send(());
            }
        }
    }

    /// Opens the file anew. Where that fails, the old one is kept: an operator who moved it finds the records there.
    fn reopen(&mut self) {
        match self.output.open() {
            Ok(opened) => {
                if !self.unfinished.is_empty() {
                    self.unfinished.clear();
                    dropped(1, "the file was replaced while a line was unfinished");
                }
                self.opened = opened;
                tracing::info!("the audit log was opened anew");
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the audit log is still the old file"
                );
            }
        }
    }

    /// Writes the lines that were collected. What cannot be written is dropped, but for the rest of a line that was begun.
    fn write(&mut self) {
        let begun = self.unfinished.len();
        let mut bytes = std::mem::take(&mut self.unfinished);
        bytes.append(&mut self.lines);
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

    /// Keeps the rest of the line that `written` lies in, and drops the lines after it.
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

    /// Takes the buffer back, unless it has become large.
    fn keep_buffer(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= 2 * MOST_BYTES {
            bytes.clear();
            self.lines = bytes;
        }
    }
}
