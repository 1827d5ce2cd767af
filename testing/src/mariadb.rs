//! A `MariaDB` in a folder, and what it has in common with a `MySQL`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command::{failed, is_root, run},
    port::free_port,
    programs::Programs,
    recipe::{Options, Recipe},
};

/// Creates the account that all tests connect as. The server carries this out at each start.
const ACCOUNTS: &str = "CREATE USER IF NOT EXISTS locks@'%' IDENTIFIED BY 'locks';\n\
                                   GRANT ALL ON *.* TO locks@'%' WITH GRANT OPTION;\n";

/// Sets a server up.
pub(crate) fn set_up(programs: &Programs, folder: &Path, options: Options<'_>) -> Result<Recipe, String> {
    let install = programs.base.join("bin/mariadb-install-db");
    let common = Common::new(folder)?;
    run(Command::new(install)
        .env("TMPDIR", &common.temporary)
        .arg("--no-defaults")
        .arg(format!("--basedir={}", programs.base.display()))
        .args(Common::user())
        .arg(format!("--datadir={}", folder.join("data").display()))
        .args(["--auth-root-authentication-method=normal", "--skip-test-db"]))?;
    recipe(programs, folder, options)
}

/// How the server whose files are in a folder is started.
pub(crate) fn recipe(programs: &Programs, folder: &Path, options: Options<'_>) -> Result<Recipe, String> {
    let common = Common::new(folder)?;
    let mut start = vec![programs.server.display().to_string(), "--no-defaults".to_owned()];
    start.extend([
        format!("--basedir={}", programs.base.display()),
        format!("--lc-messages-dir={}/share/mariadb", programs.base.display()),
    ]);
    start.extend(Common::user());
    start.extend(common.data());
    Ok(common.recipe(start, options))
}

/// The parts that `MariaDB` and `MySQL` have in common.
pub(crate) struct Common {
    folder: PathBuf,
    accounts: PathBuf,
    /// A folder for this server's temporary tables. A server that starts deletes all that it finds, and other servers
    /// that lose theirs crash.
    temporary: PathBuf,
}

impl Common {
    pub(crate) fn new(folder: &Path) -> Result<Self, String> {
        let accounts = folder.join("accounts.sql");
        std::fs::write(&accounts, ACCOUNTS).map_err(failed(&accounts))?;
        let temporary = folder.join("temporary");
        std::fs::create_dir_all(&temporary).map_err(failed(&temporary))?;
        Ok(Self { folder: folder.to_owned(), accounts, temporary })
    }

    /// The option without which both servers refuse to run as root.
    pub(crate) fn user() -> Option<String> {
        is_root().then(|| "--user=root".to_owned())
    }

    /// The folders of the server's tables, and of its temporary tables.
    pub(crate) fn data(&self) -> [String; 2] {
        [
            format!("--datadir={}", self.folder.join("data").display()),
            format!("--tmpdir={}", self.temporary.display()),
        ]
    }

    /// The recipe for the server that `command` starts. Adds where the server listens.
    pub(crate) fn recipe(self, mut command: Vec<String>, options: Options<'_>) -> Recipe {
        let Self { folder, accounts, .. } = self;
        let port = free_port();
        command.extend([
            format!("--socket={}", folder.join("socket").display()),
            format!("--pid-file={}", folder.join("pid").display()),
            format!("--init-file={}", accounts.display()),
            format!("--port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--skip-name-resolve".to_owned(),
            format!("--max-connections={}", options.connections),
        ]);
        command.extend(options.settings.iter().map(|&setting| setting.to_owned()));
        let url = format!("mysql://locks:locks@127.0.0.1:{port}/mysql");
        Recipe { command, is_ready: None, signal: "KILL", port, url, folder }
    }
}
