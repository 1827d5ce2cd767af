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
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::{
        path::Path,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// The secrets that were valid, and "withdrawn" whenever no secret was valid any more.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Log {
        fn add(&self, entry: &str) {
            self.0.lock().unwrap().push(entry.to_owned());
        }
    }

    /// Watches a file with a secret of three letters or more.
    fn watch(path: &Path) -> (Files, Log) {
        let (mut files, log) = (Files::default(), Log::default());
        let (applied, withdrawn) = (log.clone(), log.clone());
        let apply = move |contents: &[Vec<u8>]| {
            let secret = str::from_utf8(&contents[0])?;
            if secret.len() < 3 {
                return Err("too short".into());
            }
            applied.add(secret);
            Ok(Vec::new())
        };
        let watched = files.read("S", vec![path.to_owned()], apply).unwrap();
        watched.when_unusable(move || withdrawn.add("withdrawn"));
        (files, log)
    }

    #[test]
    fn a_removed_or_invalid_file_ends_what_it_allowed_and_a_moment_of_that_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let remove = || std::fs::remove_file(&path).unwrap();
        let put = |content: &[u8]| std::fs::write(&path, content).unwrap();
        let spoil: [&dyn Fn(); 5] = [
            &remove,
            &|| put(b""),
            &|| put(b"s"),
            &|| put(b"\xff\xff\xff"),
            // Like a file without the right to read it, which nobody can test as root.
            &|| {
                remove();
                std::fs::create_dir(&path).unwrap();
            },
        ];
        for spoil in spoil {
            put(b"one");
            let (mut files, log) = watch(&path);
            let start = Instant::now();
            let mut check = |seconds| files.0[0].check(start + Duration::from_secs(seconds));
            // Each of these was seen once only.
            put(b"");
            check(2);
            put(b"one");
            check(4);
            put(b"t");
            check(6);
            put(b"two");
            check(8);
            spoil();
            check(10);
            assert_eq!(*log.0.lock().unwrap(), ["one", "two"]);
            check(11);
            check(12);
            assert_eq!(*log.0.lock().unwrap(), ["one", "two", "withdrawn"]);
            if path.is_dir() {
                std::fs::remove_dir(&path).unwrap();
            }
            put(b"two");
            check(14);
            put(b"t");
            check(16);
            put(b"");
            check(18);
            assert_eq!(*log.0.lock().unwrap(), ["one", "two", "withdrawn", "two", "withdrawn"]);
        }
    }

    #[test]
    fn an_invalid_file_whose_old_content_stays_in_force_is_applied_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules");
        std::fs::write(&path, "one").unwrap();
        let (mut files, log) = watch(&path);
        files.0[0].withdraw = None;
        let start = Instant::now();
        for (seconds, content) in [(2, "t"), (4, "t"), (6, "one"), (8, "one")] {
            std::fs::write(&path, content).unwrap();
            files.0[0].check(start + Duration::from_secs(seconds));
        }
        assert_eq!(*log.0.lock().unwrap(), ["one", "one"]);
    }

    /// Watches a file that names another one, or none. `meanwhile` is called whenever they were applied.
    fn watch_naming(path: &Path, meanwhile: impl Fn() + Send + 'static) -> (Files, Log) {
        let (mut files, log) = (Files::default(), Log::default());
        let applied = log.clone();
        let apply = move |contents: &[Vec<u8>]| {
            let name = str::from_utf8(&contents[0])?;
            let named: Vec<_> = (!name.is_empty()).then(|| PathBuf::from(name)).into_iter().collect();
            let text = named.iter().map(std::fs::read_to_string).collect::<Result<String, _>>()?;
            meanwhile();
            applied.add(&text);
            Ok(named)
        };
        files.read("S", vec![path.to_owned()], apply).unwrap();
        (files, log)
    }

    /// Kubernetes replaces all files of a mount at once.
    #[test]
    fn a_file_that_is_no_longer_named_may_be_gone() {
        let folder = tempfile::tempdir().unwrap();
        let [path, key] = ["rules", "key"].map(|name| folder.path().join(name));
        std::fs::write(&key, "key").unwrap();
        std::fs::write(&path, key.to_str().unwrap()).unwrap();
        let (mut files, log) = watch_naming(&path, || ());
        std::fs::write(&path, "").unwrap();
        std::fs::remove_file(&key).unwrap();
        files.0[0].check(Instant::now());
        assert_eq!(log.0.lock().unwrap().last().unwrap(), "");
    }

    #[test]
    fn a_change_while_files_are_applied_counts_at_the_next_check() {
        let folder = tempfile::tempdir().unwrap();
        let [path, key] = ["rules", "key"].map(|name| folder.path().join(name));
        std::fs::write(&key, "one").unwrap();
        std::fs::write(&path, key.to_str().unwrap()).unwrap();
        let changed = key.clone();
        let (mut files, log) = watch_naming(&path, move || std::fs::write(&changed, "two").unwrap());
        files.0[0].check(Instant::now());
        assert_eq!(log.0.lock().unwrap().last().unwrap(), "two");

        std::fs::write(&path, "").unwrap();
        let (named, changed) = (key.to_str().unwrap().to_owned(), path.clone());
        let (mut files, log) = watch_naming(&path, move || std::fs::write(&changed, &named).unwrap());
        files.0[0].check(Instant::now());
        assert_eq!(*log.0.lock().unwrap().last().unwrap(), "two");
    }
}
