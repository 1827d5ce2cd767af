//! Checks whether the SQLite file is still the one that was opened.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::file::{SIDE_FILES, side_file};

/// The identity of the file at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let file = path.metadata()?;
        Ok(Self { device: file.dev(), inode: file.ino() })
    }
}

/// Notices when the path no longer leads to the file that was opened: the file was deleted, moved or replaced, or its
/// folder was mounted again. A second process on that path would grant the same locks.
#[derive(Debug)]
pub(in super::super) struct FileWatch {
    /// The file, `-wal` and `-shm`. The latter are known once they were seen: SQLite removes them only when nobody has
    /// the file open.
    files: [(PathBuf, OnceLock<Identity>); 3],
}

impl FileWatch {
    /// Watches a file that is open.
    pub(in super::super) fn new(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let file = OnceLock::from(Identity::of(&path)?);
        let companion = |ending| (side_file(&path, ending), OnceLock::new());
        let [wal, shm] = SIDE_FILES.map(companion);
        let watch = Self { files: [(path, file), wal, shm] };
        // A file that is not there yet is seen by a later check.
        let _ = watch.check();
        Ok(watch)
    }

    /// Fails if a file is not the same as before; the error says what has changed. Takes one `stat` for each file.
    pub(in super::super) fn check(&self) -> Result<(), String> {
        for (path, known) in &self.files {
            match (known.get(), Identity::of(path)) {
                (Some(known), Ok(now)) if now == *known => {}
                (Some(_), Ok(_)) => {
                    return Err(format!("{} is another file than the one that was opened", path.display()));
                }
                (Some(_), Err(error)) => return Err(format!("{} is gone: {error}", path.display())),
                (None, Ok(now)) => drop(known.set(now)),
                (None, Err(_)) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    /// Guards invariant 1: a process that opens the path now would grant the same locks.
    #[test]
    fn a_file_that_is_deleted_moved_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks");
        let away = folder.path().join("away");
        std::fs::write(&path, "").unwrap();
        let watch = FileWatch::new(&path).unwrap();
        watch.check().unwrap();
        for ending in SIDE_FILES {
            std::fs::write(side_file(&path, ending), "").unwrap();
        }
        watch.check().unwrap();
        for part in [path.clone(), side_file(&path, "-wal"), side_file(&path, "-shm")] {
            std::fs::rename(&part, &away).unwrap();
            assert!(watch.check().is_err(), "{part:?} is gone");
            std::fs::write(&part, "").unwrap();
            assert!(watch.check().is_err(), "{part:?} is another file");
            std::fs::rename(&away, &part).unwrap();
            watch.check().unwrap();
        }
    }
}
