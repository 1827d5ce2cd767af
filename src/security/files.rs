//! Reads the files that settings name, at the start and whenever they change.
//!
//! A change is detected by the contents, not by modification times: Kubernetes mounts a secret as a link to a folder that it
//! replaces, and copied files may keep their times. The files are few and small.

use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use db_locks_service::with_causes;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// The pause between two checks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// How long a file has to be missing to count as removed: programs that replace a file may remove it first.
const MISSING_FOR: Duration = Duration::from_secs(1);

/// Applies the contents of the files of a setting. If it fails, the old contents stay in force.
///
/// Returns further files that these files name. A change of one of them applies the setting again.
type Apply = Box<dyn FnMut(&[Vec<u8>]) -> Result<Vec<PathBuf>, Failure> + Send>;

/// The files of one setting.
pub(crate) struct Watched {
    setting: &'static str,
    paths: Vec<PathBuf>,
    apply: Apply,
    /// Further files that the setting's files name.
    named: Vec<PathBuf>,
    /// The contents of all these files at the last check, valid or not, or the errors of reading them.
    seen: Result<Vec<Vec<u8>>, String>,
    /// What to do when a file was removed, if that ends what it allowed.
    withdraw: Option<Box<dyn FnMut() + Send>>,
    presence: Presence,
}

/// Whether the files of a setting are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Present,
    /// A file was missing at the checks since then.
    Missing(Instant),
    /// What the file allowed has ended.
    Withdrawn,
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
    ) -> Result<&mut Watched, Failure> {
        let named = read_all(&paths)
            .map_err(Failure::from)
            .and_then(|contents| apply(&contents))
            .map_err(|error| format!("{} ({setting}): {}", names(&paths), with_causes(&*error)))?;
        let seen = read_all(paths.iter().chain(&named));
        let (apply, presence) = (Box::new(apply), Presence::Present);
        let last = self.0.len();
        self.0.push(Watched { setting, paths, apply, named, seen, withdraw: None, presence });
        Ok(&mut self.0[last])
    }

    /// Rereads the files at SIGHUP, and every few seconds. Never returns.
    pub(crate) async fn watch(mut self) -> io::Result<Infallible> {
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            // Wait for the first of both.
            let _ = tokio::time::timeout(LOOK_EVERY, hangup.recv()).await;
            self = tokio::task::spawn_blocking(move || {
                self.0.iter_mut().for_each(|watched| watched.check(Instant::now()));
                self
            })
            .await
            .map_err(io::Error::other)?;
        }
    }
}

impl Watched {
    /// Sets what to do when a file was removed or emptied, instead of leaving its old contents in force.
    pub(crate) fn when_removed(&mut self, withdraw: impl FnMut() + Send + 'static) {
        self.withdraw = Some(Box::new(withdraw));
    }

    fn check(&mut self, at: Instant) {
        if self.is_removed(at) {
            return;
        }
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

    /// Whether a file was removed whose removal counts, or may have been removed.
    fn is_removed(&mut self, at: Instant) -> bool {
        let Some(withdraw) = &mut self.withdraw else { return false };
        if !self.paths.iter().any(|path| is_missing(path)) {
            self.presence = Presence::Present;
            return false;
        }
        match self.presence {
            Presence::Present => self.presence = Presence::Missing(at),
            Presence::Missing(since) if at.duration_since(since) >= MISSING_FOR => {
                withdraw();
                self.presence = Presence::Withdrawn;
                // The same contents count again when they come back.
                self.seen = Err(String::new());
                let (setting, files) = (self.setting, names(&self.paths));
                tracing::warn!(setting, files, "removed or empty; what was there before no longer counts");
            }
            Presence::Missing(_) | Presence::Withdrawn => {}
        }
        true
    }
}

/// Whether a file is not there, or has nothing but white space. A file that cannot be read for another reason is not missing.
fn is_missing(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() <= MAX_BYTES => {
            std::fs::read(path).is_ok_and(|content| content.trim_ascii().is_empty())
        }
        Ok(_) => false,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_removed_file_ends_what_it_allowed_and_a_moment_without_it_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "one").unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut files = Files::default();
        let (applied, withdrawn) = (log.clone(), log.clone());
        let apply = move |contents: &[Vec<u8>]| {
            applied.lock().unwrap().push(String::from_utf8(contents[0].clone())?);
            Ok(Vec::new())
        };
        let watched = files.read("S", vec![path.clone()], apply).unwrap();
        watched.when_removed(move || withdrawn.lock().unwrap().push("withdrawn".to_owned()));
        let start = Instant::now();
        let mut check = |seconds| files.0[0].check(start + Duration::from_secs(seconds));
        let put = |content| std::fs::write(&path, content).unwrap();
        let remove = || std::fs::remove_file(&path).unwrap();
        // Each absence was seen once only.
        remove();
        check(2);
        put("one");
        check(4);
        put("");
        check(6);
        put("two");
        check(8);
        assert_eq!(*log.lock().unwrap(), ["one", "two"]);
        remove();
        check(10);
        check(11);
        check(12);
        put("two");
        check(14);
        put("\n");
        check(16);
        check(18);
        assert_eq!(*log.lock().unwrap(), ["one", "two", "withdrawn", "two", "withdrawn"]);
    }
}
