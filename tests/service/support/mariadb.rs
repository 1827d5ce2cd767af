//! A `MariaDB` of this run: in a temporary folder, on a free port, durable as by default.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    names::free_port,
    server::{Recipe, Server, is_root, run, serve_for_good},
};

/// The server of `TEST_MYSQL_URL`, or a new one; otherwise why there is none.
pub(super) fn server() -> Result<Server, String> {
    if let Ok(url) = std::env::var("TEST_MYSQL_URL") {
        return Ok(Server { url, _process: None });
    }
    serve_for_good("db-locks-mariadb-", set_up)
}

/// Sets a server up in a folder.
pub(super) fn set_up(folder: &Path) -> Result<Recipe, String> {
    let install = program("mariadb-install-db").ok_or("no mariadb-install-db, and no TEST_MYSQL_URL")?;
    let daemon = program("mariadbd").ok_or("no mariadbd, and no TEST_MYSQL_URL")?;
    let data = format!("--datadir={}", folder.join("data").display());
    let user = if is_root() { vec!["--user=root".to_owned()] } else { vec![] };
    let options = ["--auth-root-authentication-method=normal", "--skip-test-db"];
    run(Command::new(install).arg("--no-defaults").args(&user).arg(&data).args(options))?;
    let accounts = folder.join("accounts.sql");
    let grant = "CREATE USER IF NOT EXISTS locks@'%' IDENTIFIED BY 'locks';\nGRANT ALL ON *.* TO locks@'%' WITH GRANT OPTION;\n";
    std::fs::write(&accounts, grant).unwrap();

    let port = free_port();
    let mut command = vec![daemon.display().to_string(), "--no-defaults".to_owned()];
    command.extend(user);
    command.extend([
        data,
        format!("--socket={}", folder.join("socket").display()),
        format!("--pid-file={}", folder.join("pid").display()),
        format!("--init-file={}", accounts.display()),
        format!("--port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--skip-name-resolve".to_owned(),
        "--max-connections=300".to_owned(),
        "--innodb-buffer-pool-size=64M".to_owned(),
        // Not the machine's zone: nothing may depend on it.
        "--default-time-zone=+05:45".to_owned(),
    ]);
    let url = format!("mysql://locks:locks@127.0.0.1:{port}/mysql");
    Ok(Recipe { command, is_ready: None, signal: "KILL", port, url, folder: folder.to_owned() })
}

fn program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin".into(), "/usr/bin".into()])
        .map(|folder| folder.join(name))
        .find(|path| path.exists())
}
