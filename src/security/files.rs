//! Reads the files that settings name, at the start and whenever they change.
//!
//! A change is detected by the contents, not by modification times: Kubernetes mounts a secret as a link to a folder that it
//! replaces, and copied files may keep their times. The files are few and small.

use std::{convert::Infallible, io, path::PathBuf, time::Duration};

use db_locks_service::with_causes;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// The pause between two checks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Applies the contents of the files of a setting. If it fails, the old contents stay in force.
///
/// Returns further files that these files name. A change of one of them applies the setting again.
type Apply = Box<dyn FnMut(&[Vec<u8>]) -> Result<Vec<PathBuf>, Failure> + Send>;

/// The files of one setting.
struct Watched {
    setting: &'static str,
    paths: Vec<PathBuf>,
    apply: Apply,
    /// Further files that the setting's files name.
    named: Vec<PathBuf>,
    /// The contents of all these files at the last check, valid or not, or the errors of reading them.
    seen: Result<Vec<Vec<u8>>, String>,
}

/// All watched files.
#[derive(Default)]
pub(crate) struct Files(Vec<Watched>);

impl Files {
    /// Reads the files of a setting, and watches them from then on.
    pub(crate) fn read(
        &mut self,
        setting: &'static str,
        paths: Vec<PathBuf>,
        mut apply: impl FnMut(&[Vec<u8>]) -> Result<Vec<PathBuf>, Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        let named = read_all(&paths)
            .map_err(Failure::from)
            .and_then(|contents| apply(&contents))
            .map_err(|error| format!("{} ({setting}): {}", names(&paths), with_causes(&*error)))?;
        let seen = read_all(paths.iter().chain(&named));
        self.0.push(Watched { setting, paths, apply: Box::new(apply), named, seen });
        Ok(())
    }

    /// Rereads the files for ever: at SIGHUP, and every few seconds.
    pub(crate) async fn watch(mut self) -> io::Result<Infallible> {
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            // Wait for the first of both.
            let _ = tokio::time::timeout(LOOK_EVERY, hangup.recv()).await;
            self = tokio::task::spawn_blocking(move || {
                self.0.iter_mut().for_each(Watched::look);
                self
            })
            .await
            .map_err(io::Error::other)?;
        }
    }
}

impl Watched {
    fn look(&mut self) {
        let now = read_all(self.paths.iter().chain(&self.named));
        if now == self.seen {
            return;
        }
        self.seen = now;
        let applied = match &self.seen {
            Ok(contents) => {
                let own = &contents[..self.paths.len()];
                (self.apply)(own).map_err(|error| with_causes(&*error))
            }
            Err(error) => Err(error.clone()),
        };
        let (setting, files) = (self.setting, names(&self.paths));
        match applied {
            Ok(named) => {
                tracing::info!(setting, files, "read again after a change");
                if named != self.named {
                    self.named = named;
                    self.seen = read_all(self.paths.iter().chain(&self.named));
                }
            }
            Err(error) => tracing::error!(
                setting,
                files,
                error,
                "changed, and cannot be used; what was before stays in force"
            ),
        }
    }
}

fn names(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}

fn read_all<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Result<Vec<Vec<u8>>, String> {
    let read = |path: &PathBuf| {
        let size = std::fs::metadata(path)?.len();
        if size > MAX_BYTES {
            return Err(io::Error::other("it is too large"));
        }
        std::fs::read(path)
    };
    paths.into_iter().map(|path| read(path).map_err(|error| format!("{}: {error}", path.display()))).collect()
}
