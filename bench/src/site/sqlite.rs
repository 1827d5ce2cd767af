//! A `SQLite` file, which the service opens in its own process.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// A file in a folder that holds nothing else.
#[derive(Debug)]
pub(super) struct Sqlite {
    folder: PathBuf,
}

impl Sqlite {
    /// Not created.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.join("data") }
    }

    /// Makes sure that there is a folder, with nothing in it where it is to be clean.
    pub(super) fn start(&self, clean: bool) -> anyhow::Result<()> {
        if clean && self.folder.exists() {
            fs::remove_dir_all(&self.folder).context("remove the SQLite file")?;
        }
        fs::create_dir_all(&self.folder).context("create the SQLite folder")
    }

    /// What the service is told to open.
    pub(super) fn url(&self) -> String {
        format!("sqlite://{}/locks.sqlite?mode=rwc", self.folder.display())
    }
}
