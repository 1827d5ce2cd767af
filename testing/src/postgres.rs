//! A `PostgreSQL` in a folder, and a standby of one.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command::{failed, is_root, run},
    port::free_port,
    programs::Programs,
    recipe::{Options, Recipe},
};

/// Sets a server up.
pub(crate) fn set_up(programs: &Programs, folder: &Path, options: Options<'_>) -> Result<Recipe, String> {
    let data = data_folder(folder)?;
    let user = unprivileged(&data)?;
    // A collation other than byte order: with byte order, no test could see whether the service asks for it.
    let initdb = ["--auth=trust", "--username=locks", "--encoding=UTF8", "--no-sync", "--no-locale"];
    let collation = ["--locale-provider=icu", "--icu-locale=en-US"];
    run(as_user(&user, &programs.beside("initdb")).args(initdb).args(collation).arg("-D").arg(&data))?;
    Ok(recipe(programs, folder, user, options))
}

/// Sets up a hot standby that streams from the server at a port.
pub fn set_up_standby(
    programs: &Programs,
    folder: &Path,
    options: Options<'_>,
    primary: u16,
) -> Result<Recipe, String> {
    let data = data_folder(folder)?;
    let user = unprivileged(&data)?;
    let from = ["--host=127.0.0.1".to_owned(), format!("--port={primary}"), "--username=locks".to_owned()];
    let how = ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync", "-D"];
    run(as_user(&user, &programs.beside("pg_basebackup")).args(from).args(how).arg(&data))?;
    Ok(recipe(programs, folder, user, options))
}

/// Creates the folder of the server's files, which other users can reach.
fn data_folder(folder: &Path) -> Result<PathBuf, String> {
    let data = folder.join("data");
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).map_err(failed(folder))?;
    std::fs::create_dir(&data).map_err(failed(&data))?;
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).map_err(failed(&data))?;
    Ok(data)
}

/// `PostgreSQL` does not run as root: returns what goes before its command to run it as `postgres`. Gives the folder to
/// that user.
fn unprivileged(data: &Path) -> Result<Vec<String>, String> {
    if !is_root() {
        return Ok(vec![]);
    }
    run(Command::new("chown").arg("postgres").arg(data))?;
    let drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
    Ok(drop.map(str::to_owned).to_vec())
}

fn as_user(user: &[String], program: &Path) -> Command {
    let Some((first, rest)) = user.split_first() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(rest).arg(program);
    command
}

fn recipe(programs: &Programs, folder: &Path, user: Vec<String>, options: Options<'_>) -> Recipe {
    let port = free_port();
    let mut command = user;
    let program = programs.server.display().to_string();
    command.extend([program, "-D".to_owned(), folder.join("data").display().to_string()]);
    let settings = [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        format!("max_connections={}", options.connections),
    ];
    let settings = settings.into_iter().chain(options.settings.iter().map(|&setting| setting.to_owned()));
    command.extend(settings.flat_map(|setting| ["-c".to_owned(), setting]));
    let ask = programs.beside("pg_isready").display().to_string();
    let is_ready = ["-q", "-h", "127.0.0.1", "-p"].map(str::to_owned);
    let is_ready = [ask].into_iter().chain(is_ready).chain([port.to_string()]).collect();
    let url = format!("postgres://locks@127.0.0.1:{port}/postgres");
    Recipe { command, is_ready: Some(is_ready), signal: "QUIT", port, url, folder: folder.to_owned() }
}
