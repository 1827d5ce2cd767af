//! Files that settings name: they are read at the start, and again when they change.
//!
//! Their contents are compared, not their times: a secret that Kubernetes mounts is a link to a folder that is replaced, and the
//! times of a copied file say nothing. The files are few and small.

use std::{convert::Infallible, io, path::PathBuf, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Failure, with_causes};

/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The largest file that is read.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Takes the contents of the files of a setting; what it refuses leaves in force what was.
///
/// Returns further files that these name: a change of one of them has these taken anew.
type Apply = Box<dyn FnMut(&[Vec<u8>]) -> Result<Vec<PathBuf>, Failure> + Send>;

/// The files of one setting, which belong together.
struct Watched {
    setting: &'static str,
    paths: Vec<PathBuf>,
    apply: Apply,
    /// Files that these named.
    named: Vec<PathBuf>,
    /// What was read last of both, be it good or bad, or why it could not be read.
    seen: Result<Vec<Vec<u8>>, String>,
}

/// All files that are read again.
#[derive(Default)]
pub(crate) struct Files(Vec<Watched>);

impl Files {
    /// Reads the files of a setting, and joins them to those that are read again.
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

    /// Reads them again, for ever: at SIGHUP, and after a few seconds otherwise.
    pub(crate) async fn watch(mut self) -> io::Result<Infallible> {
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            // Whichever comes first.
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
