//! A `SQLite` file, which the service opens in its own process.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// A file in a folder of its own.
#[derive(Debug)]
pub(super) struct Sqlite {
    folder: PathBuf,
}

impl Sqlite {
    /// A file that is not created yet.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.join("data") }
    }

    /// Creates the folder, and empties it if it has to be clean.
    pub(super) fn start(&self, clean: bool) -> anyhow::Result<()> {
        if clean && self.folder.exists() {
            fs::remove_dir_all(&self.folder).context("remove the SQLite file")?;
        }
        fs::create_dir_all(&self.folder).context("create the SQLite folder")
    }

    /// The URL for the service.
    pub(super) fn url(&self) -> String {
        format!("sqlite://{}/locks.sqlite?mode=rwc", self.folder.display())
    }
}
