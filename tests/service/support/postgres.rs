//! A `PostgreSQL` of this run: in a temporary folder, on a free port, durable as by default.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    names::free_port,
    server::{Recipe, Server, is_root, run, serve_for_good},
};

/// The server of `TEST_POSTGRES_URL`, or a new one; otherwise why there is none.
pub(super) fn server() -> Result<Server, String> {
    if let Ok(url) = std::env::var("TEST_POSTGRES_URL") {
        return Ok(Server { url, _process: None });
    }
    serve_for_good("db-locks-postgres-", set_up)
}

/// Sets a server up in a folder.
pub(super) fn set_up(folder: &Path) -> Result<Recipe, String> {
    let programs =
        programs().ok_or("no postgres in /usr/lib/postgresql/*/bin or PATH, and no TEST_POSTGRES_URL")?;
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    let data = folder.join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
    let user = unprivileged(&data)?;
    initialise(&programs, &data, &user)?;
    Ok(recipe(&programs, folder, user))
}

/// Sets up a standby of the server at a port in a folder.
pub(super) fn set_up_standby(folder: &Path, primary: u16) -> Result<Recipe, String> {
    let programs = programs().ok_or("no postgres")?;
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    let data = folder.join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
    let user = unprivileged(&data)?;
    let copy = programs.join("pg_basebackup").display().to_string();
    let command = user.iter().chain([&copy]).collect::<Vec<_>>();
    let from = ["--host=127.0.0.1".to_owned(), format!("--port={primary}"), "--username=locks".to_owned()];
    let how = ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync", "-D"];
    run(Command::new(command[0]).args(&command[1..]).args(from).args(how).arg(&data))?;
    Ok(recipe(&programs, folder, user))
}

/// The folder of the newest Debian package, or else one of PATH, with all programs that are needed.
fn programs() -> Option<PathBuf> {
    let packages = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut folders = packages.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect::<Vec<_>>();
    folders.sort();
    folders.reverse();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    folders
        .into_iter()
        .find(|bin| ["postgres", "initdb", "pg_isready"].iter().all(|name| bin.join(name).exists()))
}

/// `PostgreSQL` does not run as root: what goes before its command to run as `postgres`, who is given the folder.
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

fn recipe(programs: &Path, folder: &Path, user: Vec<String>) -> Recipe {
    let port = free_port();
    let mut command = user;
    let program = programs.join("postgres").display().to_string();
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
    let ask = programs.join("pg_isready").display().to_string();
    let is_ready = ["-q", "-h", "127.0.0.1", "-p"].map(str::to_owned);
    let is_ready = [ask].into_iter().chain(is_ready).chain([port.to_string()]).collect();
    let url = format!("postgres://locks@127.0.0.1:{port}/postgres");
    Recipe { command, is_ready: Some(is_ready), signal: "QUIT", port, url, folder: folder.to_owned() }
}
