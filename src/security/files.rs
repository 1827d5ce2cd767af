//! Reads the files that settings name, at the start and whenever they change.
//!
//! A change is detected by the contents, not by modification times: Kubernetes mounts a secret as a link to a folder that it
//! replaces, and copied files may keep their times. The files are few and small.

use std::{
    convert::Infallible,
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use db_locks_service::{read_regular_file, with_causes};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// The pause between two checks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// How long files have to be unusable to end what they allowed: programs that replace a file may remove or empty it first.
const UNUSABLE_FOR: Duration = Duration::from_secs(1);

/// Applies the contents of the files of a setting. If it fails, it changes nothing.
///
/// Returns further files that these files name. A change of one of them applies the setting again.
type Apply = Box<dyn FnMut(&[Vec<u8>]) -> Result<Vec<PathBuf>, Failure> + Send>;

/// The contents of files, or the error of reading them.
type Contents = Result<Vec<Vec<u8>>, String>;

/// The files of one setting.
pub(crate) struct Watched {
    setting: &'static str,
    paths: Vec<PathBuf>,
    apply: Apply,
    /// Further files that the setting's files name.
    named: Vec<PathBuf>,
    /// The contents of the setting's files and of those that they name, when they were applied last or failed to apply.
    seen: [Contents; 2],
    /// Ends what the files allowed, if they must not stay in force when they are removed or invalid.
    withdraw: Option<Box<dyn FnMut() + Send>>,
    validity: Validity,
}

/// Whether the files of a setting can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Validity {
    Valid,
    /// They could not be used at the checks since then.
    InvalidSince(Instant),
    /// What they allowed has ended.
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
        let own = read_all(&paths);
        let applied = own.clone().map_err(Failure::from).and_then(|own| apply_named(&mut apply, &own));
        let (named, seen_named) =
            applied.map_err(|error| format!("{} ({setting}): {}", names(&paths), with_causes(&*error)))?;
        let (apply, validity, seen) = (Box::new(apply), Validity::Valid, [own, seen_named]);
        let last = self.0.len();
        self.0.push(Watched { setting, paths, apply, named, seen, withdraw: None, validity });
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
    /// Sets what to do when the files were removed or became invalid, instead of leaving their old contents in force.
    pub(crate) fn when_unusable(&mut self, withdraw: impl FnMut() + Send + 'static) {
        self.withdraw = Some(Box::new(withdraw));
    }

    fn check(&mut self, at: Instant) {
        let now = [read_all(&self.paths), read_all(&self.named)];
        if now == self.seen {
            self.validity = Validity::Valid;
            return;
        }
        // Files that were named before may be gone because they are no longer named.
        let applied = match &now[0] {
            Ok(own) => apply_named(&mut self.apply, own).map_err(|error| with_causes(&*error)),
            Err(error) => Err(error.clone()),
        };
        let (setting, files) = (self.setting, names(&self.paths));
        match applied {
            Ok((named, seen_named)) => {
                tracing::info!(setting, files, "read again after a change");
                self.validity = Validity::Valid;
                let [own, _] = now;
                (self.named, self.seen) = (named, [own, seen_named]);
            }
            Err(error) if self.withdraw.is_some() => self.withdraw(&error, at),
            Err(error) => {
                self.seen = now;
                tracing::error!(
                    setting,
                    files,
                    error,
                    "changed, and cannot be used; what was before stays in force"
                );
            }
        }
    }

    /// Ends what the files allowed, if they could not be used for long enough.
    fn withdraw(&mut self, error: &str, at: Instant) {
        match self.validity {
            Validity::Valid => self.validity = Validity::InvalidSince(at),
            Validity::InvalidSince(since) if at.duration_since(since) >= UNUSABLE_FOR => {
                if let Some(withdraw) = &mut self.withdraw {
                    withdraw();
                }
                self.validity = Validity::Withdrawn;
                // The same contents count again when they come back.
                self.seen[0] = Err(String::new());
                let (setting, files) = (self.setting, names(&self.paths));
                tracing::warn!(
                    setting,
                    files,
                    error,
                    "cannot be used; what was there before no longer counts"
                );
            }
            Validity::InvalidSince(_) | Validity::Withdrawn => {}
        }
    }
}

/// Applies the contents of a setting's own files. Returns the files that they name, with contents that are not newer than those applied.
fn apply_named(
    apply: &mut impl FnMut(&[Vec<u8>]) -> Result<Vec<PathBuf>, Failure>,
    own: &[Vec<u8>],
) -> Result<(Vec<PathBuf>, Contents), Failure> {
    let named = apply(own)?;
    if named.is_empty() {
        return Ok((named, Ok(Vec::new())));
    }
    // Only now it is known which files have to be read before they are applied. Otherwise a change in between would never count.
    let contents = read_all(&named);
    Ok((apply(own)?, contents))
}

fn names(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}

fn read_all(paths: &[PathBuf]) -> Contents {
    let read = |path: &PathBuf| {
        read_regular_file(path, MAX_BYTES).map_err(|error| format!("{}: {error}", path.display()))
    };
    paths.iter().map(read).collect()
}

#[cfg(test)]
mod tests;
