//! Changes of files that settings name.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

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

/// A file that names another one, whose content is "one".
fn rules_naming_a_key(folder: &Path) -> [PathBuf; 2] {
    let [path, key] = ["rules", "key"].map(|name| folder.join(name));
    std::fs::write(&key, "one").unwrap();
    std::fs::write(&path, key.to_str().unwrap()).unwrap();
    [path, key]
}

/// Kubernetes replaces all files of a mount at once.
#[test]
fn a_file_that_is_no_longer_named_may_be_gone() {
    let folder = tempfile::tempdir().unwrap();
    let [path, key] = rules_naming_a_key(folder.path());
    let (mut files, log) = watch_naming(&path, || ());
    std::fs::write(&path, "").unwrap();
    std::fs::remove_file(&key).unwrap();
    files.0[0].check(Instant::now());
    assert_eq!(log.0.lock().unwrap().last().unwrap(), "");
}

#[test]
fn a_change_while_files_are_applied_counts_at_the_next_check() {
    let folder = tempfile::tempdir().unwrap();
    let [path, key] = rules_naming_a_key(folder.path());
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
