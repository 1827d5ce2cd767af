//! A service with a network or file systems of its own, by namespaces.

use std::{io::Write, path::Path, process::Command};

use super::{
    databases::sqlite_url,
    leash::{Launch, Leashed},
};

/// Starts the service with these settings on a SQLite file in `folder`, in namespaces by these flags of `unshare`, after the
/// command `prepare`. `None`, with a message that tests of `what` are skipped, if this user may not do that.
pub(crate) fn serve_apart(
    flags: &str,
    prepare: &str,
    what: &str,
    folder: &Path,
    log: &Path,
    port: u16,
    settings: &[(&str, &str)],
) -> Option<Leashed> {
    let allowed = Command::new("unshare").args([flags, "sh", "-c", prepare]).output();
    if !allowed.is_ok_and(|tried| tried.status.success()) {
        // Past the test harness, which would hide the message.
        let line =
            format!("\n*** {what} IS LEFT OUT of the tests: `unshare {flags}` is not allowed here ***\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    }
    let prepare_and_serve = format!(r#"{prepare} && exec "$0""#);
    let command = ["unshare", flags, "sh", "-c", &prepare_and_serve, env!("CARGO_BIN_EXE_db-locks")];
    let (url, listen) = (sqlite_url(folder), format!("127.0.0.1:{port}"));
    let own = [("DATABASE_URL", url.as_str()), ("DB_LOCKS_LISTEN", listen.as_str())];
    let env = own.iter().chain(settings).map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Some(Leashed::start(&Launch {
        command: command.map(str::to_owned).to_vec(),
        env: env.collect(),
        signal: "KILL",
        folder: None,
        log,
    }))
}
