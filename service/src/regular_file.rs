//! Reads a file that a setting names.

use std::{
    fs::{Metadata, OpenOptions, metadata},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::OFlags;

/// Reads a regular file of at most `max_bytes`, or what a symbolic link to such a file names. Never waits for another program.
///
/// To open a FIFO waits until another program writes to it, and to open a device may have an effect. So both are refused, as are
/// folders and sockets.
///
/// # Errors
/// If it is no regular file, if it is too large, or if it cannot be read.
pub fn read_regular_file(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    check(&metadata(path)?, max_bytes)?;
    let file = open_at_once(OpenOptions::new().read(true), path)?;
    // Another file may have taken its place meanwhile.
    check(&file.metadata()?, max_bytes)?;
    let mut content = Vec::new();
    // It may grow while it is read.
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > max_bytes { Err(too_large()) } else { Ok(content) }
}

/// Opens a file without waiting for whatever is at the other end of it, and without making it the terminal of this process.
pub(crate) fn open_at_once(options: &mut OpenOptions, path: &Path) -> io::Result<std::fs::File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    options.custom_flags(flags.bits().cast_signed()).open(path)
}

fn check(file: &Metadata, max_bytes: u64) -> io::Result<()> {
    if !file.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if file.len() > max_bytes { Err(too_large()) } else { Ok(()) }
}

fn too_large() -> io::Error {
    io::Error::other("it is too large")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::{
        fs::{create_dir, write},
        os::unix::{fs::symlink, net::UnixListener},
        path::PathBuf,
        sync::mpsc,
        thread,
        time::Duration,
    };

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// Reads a file, or fails if that takes too long.
    fn read(path: PathBuf, max_bytes: u64) -> Result<String, String> {
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || done.send(read_regular_file(&path, max_bytes)));
        let read = is_done.recv_timeout(Duration::from_secs(10)).unwrap();
        read.map(|content| String::from_utf8(content).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_regular_file_is_read_through_links_and_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(at("file"), "12345").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("link", at("second")).unwrap();
        for name in ["file", "link", "second"] {
            assert_eq!(read(at(name), 5).as_deref(), Ok("12345"));
            assert_eq!(read(at(name), 4), Err("it is too large".to_owned()));
        }
        // The kernel says that these have no bytes.
        assert!(read("/proc/self/status".into(), 1 << 20).unwrap().starts_with("Name:"));
        assert_eq!(read("/proc/self/status".into(), 4), Err("it is too large".to_owned()));
    }

    #[test]
    fn whatever_else_is_there_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        symlink("fifo", at("link")).unwrap();
        create_dir(at("folder")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let others = ["fifo", "link", "folder", "socket"].map(at).into_iter();
        for path in others.chain(["/dev/null", "/dev/zero", "/dev/tty"].map(PathBuf::from)) {
            assert_eq!(read(path.clone(), 5), Err("it is not a regular file".to_owned()), "{path:?}");
        }
        assert!(read(at("missing"), 5).unwrap_err().contains("No such file"));
    }
}
