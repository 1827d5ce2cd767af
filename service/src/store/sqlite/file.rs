//! The SQLite file itself, and its access rights.
//!
//! The file holds data, and versions, which are rights to release. So only its owner may read it: mode 0600, whatever
//! the umask is. An existing file keeps the mode that its operator gave it, unless everybody may read or write it.
//! SQLite gives `-wal` and `-shm` the mode of the file.
//!
//! This module never opens an existing file: closing it would give up SQLite's own locks, which belong to the process.

use std::{
    fs::{Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The mode in which only the owner reads and writes.
const OWNER_ONLY: u32 = 0o600;
/// The mode's bits for users who are neither the owner nor in the group.
const OTHERS: u32 = 0o007;
/// The mode's bits of a folder in which everybody creates files, and removes only their own: `/tmp`.
const STICKY_AND_WRITABLE: u32 = 0o1002;
/// The endings of the files that SQLite puts beside the file.
pub(super) const SIDE_FILES: [&str; 2] = ["-wal", "-shm"];

/// Why a SQLite file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum FileError {
    #[error(
        "the folder {0:?} of the SQLite file does not exist; no folder is created, so create it or correct the path"
    )]
    NoFolder(PathBuf),
    #[error("{0:?}, where the SQLite file should be, is not a folder")]
    NotAFolder(PathBuf),
    #[error("the SQLite file {0:?} does not exist, and mode=rw does not create it")]
    Missing(PathBuf),
    #[error("{0:?} is not a regular file")]
    NotAFile(PathBuf),
    #[error("{0:?} is a symbolic link to a file that does not exist")]
    Dangling(PathBuf),
    #[error(
        "{0:?} is a symbolic link in a folder where everybody may create files, and is not followed; name the file itself"
    )]
    Planted(PathBuf),
    #[error(
        "{0:?} is in a folder where everybody may create files, and belongs to somebody else; choose another folder"
    )]
    Foreign(PathBuf),
    #[error("the SQLite file {path:?} cannot be {doing}: {source}")]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
}

/// Creates the file if it is missing and may be created, and corrects its mode.
pub(in super::super) fn prepare(path: &Path, create: bool) -> Result<(), FileError> {
    let failed = |doing| move |source| FileError::Io { path: path.to_owned(), doing, source };
    let path = &std::path::absolute(path).map_err(failed("found"))?;
    check_folders(path)?;
    if create {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(OWNER_ONLY).open(path);
        match file {
            Ok(file) => {
                // The umask may have removed bits of the mode.
                let owners = Permissions::from_mode(OWNER_ONLY);
                return file.set_permissions(owners).map_err(failed("given its mode"));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("created")(error)),
        }
    }
    match path.metadata() {
        Ok(file) if !file.is_file() => return Err(FileError::NotAFile(path.clone())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            return Err(FileError::Dangling(path.clone()));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FileError::Missing(path.clone()));
        }
        Err(error) => return Err(failed("read")(error)),
    }
    for path in [path.clone()].into_iter().chain(SIDE_FILES.map(|ending| side_file(path, ending))) {
        restrict_to_owner(&path);
    }
    Ok(())
}

/// Changes a mode that lets everybody in. Earlier versions created such files.
fn restrict_to_owner(path: &Path) {
    let Ok(file) = path.metadata() else { return };
    let mode = file.mode() & 0o777;
    if mode & OTHERS == 0 {
        return;
    }
    let mode = format!("{mode:04o}");
    match std::fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY)) {
        Ok(()) => tracing::warn!(?path, mode, "everybody could read the file; its mode is 0600 now"),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, ?path, mode, "everybody may read the file, and its mode cannot be changed");
        }
    }
}

/// Refuses a folder that does not exist. In a folder like `/tmp`, also refuses links and files that others may have put there.
fn check_folders(path: &Path) -> Result<(), FileError> {
    let Some(folder) = path.parent() else { return Err(FileError::NotAFile(path.to_owned())) };
    match folder.metadata() {
        Ok(found) if !found.is_dir() => return Err(FileError::NotAFolder(folder.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FileError::NoFolder(folder.to_owned()));
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(FileError::NotAFolder(folder.to_owned()));
        }
        Err(source) => return Err(FileError::Io { path: path.to_owned(), doing: "reached", source }),
    }
    let shared = |path: &Path| path.parent().and_then(|folder| folder.metadata().ok()).filter(is_shared);
    for part in path.ancestors() {
        if shared(part).is_some() && part.is_symlink() {
            return Err(FileError::Planted(part.to_owned()));
        }
    }
    let Some(folder) = shared(path) else { return Ok(()) };
    for path in [path.to_owned()].into_iter().chain(SIDE_FILES.map(|ending| side_file(path, ending))) {
        if let Ok(file) = path.symlink_metadata() {
            check_shared(path, &file, &folder)?;
        }
    }
    Ok(())
}

fn is_shared(folder: &Metadata) -> bool {
    folder.mode() & STICKY_AND_WRITABLE == STICKY_AND_WRITABLE
}

fn check_shared(path: PathBuf, file: &Metadata, folder: &Metadata) -> Result<(), FileError> {
    if file.is_symlink() {
        return Err(FileError::Planted(path));
    }
    if !file.is_file() {
        return Err(FileError::NotAFile(path));
    }
    let me = rustix::process::geteuid().as_raw();
    let is_ours = file.uid() == me || file.uid() == folder.uid();
    // A file with a second name may belong to a user who uses that name.
    if is_ours && file.nlink() == 1 { Ok(()) } else { Err(FileError::Foreign(path)) }
}

pub(super) fn side_file(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_new_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks");
        prepare(&path, true).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(matches!(prepare(&folder.path().join("other"), false), Err(FileError::Missing(_))));
    }

    #[test]
    fn everybody_is_kept_out_of_a_file_that_exists_and_the_operators_group_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks");
        for (before, after) in
            [(0o644, 0o600), (0o666, 0o600), (0o640, 0o640), (0o660, 0o660), (0o600, 0o600)]
        {
            for path in [path.clone(), side_file(&path, "-wal")] {
                std::fs::write(&path, "").unwrap();
                set_mode(&path, before);
            }
            prepare(&path, true).unwrap();
            assert_eq!((mode(&path), mode(&side_file(&path, "-wal"))), (after, after), "{before:o}");
        }
    }

    #[test]
    fn no_folder_is_created_and_only_a_regular_file_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(matches!(prepare(&at("missing/locks"), true), Err(FileError::NoFolder(_))));
        assert!(!at("missing").exists());
        assert!(matches!(prepare(folder.path(), true), Err(FileError::NotAFile(_))));
        std::fs::write(at("file"), "").unwrap();
        assert!(matches!(prepare(&at("file/locks"), true), Err(FileError::NotAFolder(_))));
        std::os::unix::fs::symlink(at("nowhere"), at("link")).unwrap();
        assert!(matches!(prepare(&at("link"), true), Err(FileError::Dangling(_))));
        assert!(!at("nowhere").exists());
    }

    #[test]
    fn files_that_others_may_have_planted_in_a_shared_folder_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("mine")).unwrap();
        std::fs::write(at("mine/locks"), "").unwrap();
        std::os::unix::fs::symlink(at("mine/locks"), at("link")).unwrap();
        prepare(&at("link"), true).unwrap();
        set_mode(folder.path(), 0o1777);
        assert!(matches!(prepare(&at("link"), true), Err(FileError::Planted(_))));
        std::os::unix::fs::symlink(at("mine"), at("linked_folder")).unwrap();
        assert!(matches!(prepare(&at("linked_folder/locks"), true), Err(FileError::Planted(_))));
        std::os::unix::fs::symlink(at("mine/locks"), at("new-wal")).unwrap();
        assert!(matches!(prepare(&at("new"), true), Err(FileError::Planted(_))));
        std::fs::hard_link(at("mine/locks"), at("hard")).unwrap();
        assert!(matches!(prepare(&at("hard"), true), Err(FileError::Foreign(_))));
        prepare(&at("own"), true).unwrap();
        prepare(&at("own"), true).unwrap();
    }
}
