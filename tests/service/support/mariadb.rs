//! A MariaDB of this run: in a temporary folder, on a free port, durable as by default.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::{
    databases::Server,
    leash::{Launch, Leashed},
    names::free_port,
};

/// The server of `TEST_MYSQL_URL`, or a new one; otherwise why there is none.
pub(crate) fn server() -> Result<Server, String> {
    if let Ok(url) = std::env::var("TEST_MYSQL_URL") {
        return Ok(Server { url, process: None });
    }
    let install = program("mariadb-install-db").ok_or("no mariadb-install-db, and no TEST_MYSQL_URL")?;
    let daemon = program("mariadbd").ok_or("no mariadbd, and no TEST_MYSQL_URL")?;
    let folder = tempfile::Builder::new().prefix("db-locks-mariadb-").tempdir().unwrap().keep();
    let data = format!("--datadir={}", folder.join("data").display());
    let user = if is_root() { vec!["--user=root".to_owned()] } else { vec![] };
    let options = ["--auth-root-authentication-method=normal", "--skip-test-db"];
    run(Command::new(install).arg("--no-defaults").args(&user).arg(&data).args(options))?;
    let accounts = folder.join("accounts.sql");
    let grant = "CREATE USER locks@'%' IDENTIFIED BY 'locks';\nGRANT ALL ON *.* TO locks@'%';\n";
    std::fs::write(&accounts, grant).unwrap();
    start(&daemon, &folder, &user)
}

fn start(daemon: &Path, folder: &Path, user: &[String]) -> Result<Server, String> {
    let port = free_port();
    let mut command = vec![daemon.display().to_string(), "--no-defaults".to_owned()];
    command.extend(user.iter().cloned());
    command.extend([
        format!("--datadir={}", folder.join("data").display()),
        format!("--socket={}", folder.join("socket").display()),
        format!("--pid-file={}", folder.join("pid").display()),
        format!("--init-file={}", folder.join("accounts.sql").display()),
        format!("--port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--skip-name-resolve".to_owned(),
        "--max-connections=300".to_owned(),
        "--innodb-buffer-pool-size=64M".to_owned(),
        // Not the machine's zone: nothing may depend on it.
        "--default-time-zone=+05:45".to_owned(),
    ]);
    let log = folder.join("server.log");
    let launch = Launch { command, env: vec![], signal: "KILL", folder: Some(folder), log: &log };
    let mut process = Leashed::start(&launch);
    await_port(port, &mut process, &log, Duration::from_secs(60))?;
    Ok(Server { url: format!("mysql://locks:locks@127.0.0.1:{port}/mysql"), process: Some(process) })
}

fn program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin".into(), "/usr/bin".into()])
        .map(|folder| folder.join(name))
        .find(|path| path.exists())
}

/// Whether this process is root's.
pub(super) fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// Runs a command to its end; what it printed, where it failed.
pub(super) fn run(command: &mut Command) -> Result<(), String> {
    let output = command.current_dir("/").output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Err(format!("{command:?}: {}\n{out}{err}", output.status))
}

/// Waits until a server listens; its log, where it does not.
pub(super) fn await_port(
    port: u16,
    process: &mut Leashed,
    log: &Path,
    within: Duration,
) -> Result<(), String> {
    let deadline = Instant::now() + within;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if process.ended().is_some() || Instant::now() > deadline {
            return Err(format!("it does not start:\n{}", std::fs::read_to_string(log).unwrap_or_default()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
