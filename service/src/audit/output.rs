//! The output of the audit log.

use std::{
    convert::Infallible,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
};

use crate::{regular_file::open_at_once, write_to_stderr};

/// The output of the audit log: `stderr`, or the path of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditOutput {
    /// The standard error output.
    Stderr,
    /// A file, which is appended to.
    File(PathBuf),
}

impl FromStr for AuditOutput {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "stderr" { Self::Stderr } else { Self::File(text.into()) })
    }
}

/// Why the audit log cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be opened.
    #[error("the audit log {path} cannot be written: {error}")]
    Open {
        /// The path of the file.
        path: String,
        /// The cause.
        error: io::Error,
    },
    /// The thread that writes cannot be started.
    #[error("the thread that writes the audit log cannot be started: {0}")]
    Thread(io::Error),
}

/// An output that is open.
#[derive(Debug)]
pub(super) enum Opened {
    Stderr,
    File(File),
}

impl AuditOutput {
    /// Opens the output. Creates a missing file, for its owner alone, but no folder.
    pub(super) fn open(&self) -> Result<Opened, AuditError> {
        let Self::File(path) = self else { return Ok(Opened::Stderr) };
        let error = |error| AuditError::Open { path: path.display().to_string(), error };
        open(path).map(Opened::File).map_err(error)
    }
}

/// Opens a file for records. It may be a pipe if somebody reads from it already: to open it does not wait for that.
fn open(path: &Path) -> io::Result<File> {
    let file = open_at_once(OpenOptions::new().append(true).create(true).mode(0o600), path);
    let file = file.map_err(|error| {
        let is_alone = error.raw_os_error() == Some(Errno::NXIO.raw_os_error());
        if is_alone { io::Error::other("nobody reads from this pipe, or it is a socket") } else { error }
    })?;
    // The writer is a thread of its own, and waits for a slow reader.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

impl Opened {
    /// Writes some of the lines, and returns the number of bytes.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stderr => write_to_stderr(lines),
            Self::File(file) => file.write(lines),
        }
    }
}
