//! A PostgreSQL of this run: in a temporary folder, on a free port, durable as by default.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::{
    databases::Server,
    leash::{Launch, Leashed},
    mariadb::{await_port, is_root, run},
    names::free_port,
};

/// The server of `TEST_POSTGRES_URL`, or a new one; otherwise why there is none.
pub(crate) fn server() -> Result<Server, String> {
    if let Ok(url) = std::env::var("TEST_POSTGRES_URL") {
        return Ok(Server { url, process: None });
    }
    let programs =
        programs().ok_or("no postgres in PATH or /usr/lib/postgresql/*/bin, and no TEST_POSTGRES_URL")?;
    let folder = tempfile::Builder::new().prefix("db-locks-postgres-").tempdir().unwrap().keep();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    let data = folder.join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
    let user = unprivileged(&data)?;
    initialise(&programs, &data, &user)?;
    start(&programs, &folder, &user)
}

fn programs() -> Option<PathBuf> {
    let mut found = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()))
        .filter(|bin| bin.join("postgres").exists() && bin.join("initdb").exists())
        .collect::<Vec<_>>();
    found.sort();
    found.pop()
}

/// PostgreSQL does not run as root: what goes before its command to run as `postgres`, who is given the folder.
fn unprivileged(data: &Path) -> Result<Vec<String>, String> {
    if !is_root() {
        return Ok(vec![]);
    }
    run(Command::new("chown").arg("postgres").arg(data))?;
    let drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
    Ok(drop.map(str::to_owned).to_vec())
}

fn initialise(programs: &Path, data: &Path, user: &[String]) -> Result<(), String> {
    let initdb = programs.join("initdb").display().to_string();
    let command = user.iter().chain([&initdb]).collect::<Vec<_>>();
    // A collation that is not the order of bytes, or the tests could not see whether the service asks for that.
    let options = ["--auth=trust", "--username=locks", "--encoding=UTF8", "--no-sync", "--no-locale"];
    let collation = ["--locale-provider=icu", "--icu-locale=en-US"];
    run(Command::new(command[0]).args(&command[1..]).args(options).args(collation).arg("-D").arg(data))
}

fn start(programs: &Path, folder: &Path, user: &[String]) -> Result<Server, String> {
    let port = free_port();
    let program = programs.join("postgres").display().to_string();
    let mut command = user.to_vec();
    command.extend([program, "-D".to_owned(), folder.join("data").display().to_string()]);
    let settings = [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        "max_connections=300".to_owned(),
        // Not the machine's zone: nothing may depend on it.
        "timezone=Asia/Kathmandu".to_owned(),
    ];
    command.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]));
    let log = folder.join("server.log");
    let launch = Launch { command, env: vec![], signal: "QUIT", folder: Some(folder), log: &log };
    let mut process = Leashed::start(&launch);
    await_port(port, &mut process, &log, Duration::from_secs(60))?;
    await_recovery(programs, port)?;
    Ok(Server { url: format!("postgres://locks@127.0.0.1:{port}/postgres"), process: Some(process) })
}

/// It listens before it lets anybody in.
fn await_recovery(programs: &Path, port: u16) -> Result<(), String> {
    let port = port.to_string();
    let mut ask = Command::new(programs.join("pg_isready"));
    ask.args(["-q", "-h", "127.0.0.1", "-p", &port]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(why) = run(&mut ask) {
        if Instant::now() > deadline {
            return Err(why);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
