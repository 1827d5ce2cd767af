//! `PgBouncer` in front of a `PostgreSQL`: the one that is installed, or 1.24 with `TEST_SERVERS=newest`.

use std::{path::Path, process::Command, time::Duration};

use db_locks_testing::pgbouncer;

use super::{
    Database,
    leash::{Launch, Leashed},
    names::free_port,
    sql,
};

/// The pooler's setting that gives each transaction any connection.
pub(crate) const TRANSACTIONS: &str = "pool_mode = transaction";

/// A pooler in front of the server of a database. It ends on drop, or with the test process.
pub(crate) struct PgBouncer {
    _process: Leashed,
    /// The URL of the database through the pooler.
    pub(crate) url: String,
}

impl PgBouncer {
    /// Starts the pooler; `None` if it is not available. `settings` are lines of its configuration.
    pub(crate) async fn start(database: &Database, settings: &str) -> Option<Self> {
        let left_out = |why: &String| eprintln!("*** PGBOUNCER IS LEFT OUT of the tests: {why} ***");
        let program = pgbouncer().inspect_err(left_out).ok()?;
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = folder.path().join("pgbouncer.ini");
        std::fs::write(folder.path().join("users"), "\"locks\" \"\"\n").unwrap();
        std::fs::write(&config, ini(folder.path(), database, port, settings)).unwrap();
        // The pooler does not run as root.
        run("chmod", &["-R", "a+rX", &folder.path().display().to_string()]);
        let mut command = Vec::new();
        if Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0") {
            command.extend(
                ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"].map(str::to_owned),
            );
        }
        command.extend([program, config].map(|path| path.display().to_string()));
        let log = folder.path().join("pgbouncer.log");
        let process = Leashed::start(&Launch {
            command,
            env: vec![],
            signal: "KILL",
            folder: Some(folder.path()),
            log: &log,
        });
        // Its leash removes it.
        let _ = folder.keep();
        let url = database.through_port(port);
        let mut tries = 0;
        while let Err(error) = sql::execute(&format!("{url}?statement-cache-capacity=0"), "SELECT 1").await {
            tries += 1;
            assert!(tries < 100, "{error}: {}", std::fs::read_to_string(&log).unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(Self { _process: process, url })
    }
}

fn ini(folder: &Path, database: &Database, port: u16, settings: &str) -> String {
    let address = database.server_address();
    let (host, server_port) = address.split_once(':').unwrap();
    format!(
        "[databases]\n* = host={host} port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = trust\nauth_file = {}/users\n{settings}\ndefault_pool_size = 30\n\
         ignore_startup_parameters = extra_float_digits\n",
        folder.display()
    )
}

fn run(program: &str, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success());
}
