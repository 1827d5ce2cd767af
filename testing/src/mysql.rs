//! A `MySQL` in a folder.

use std::{path::Path, process::Command};

use crate::{
    command::run,
    mariadb::Common,
    programs::Programs,
    recipe::{Options, Recipe},
};

/// Sets a server up.
pub(crate) fn set_up(programs: &Programs, folder: &Path, options: Options<'_>) -> Result<Recipe, String> {
    let common = Common::new(folder)?;
    let base = programs.base.display();
    let mut start = vec![
        programs.server.display().to_string(),
        "--no-defaults".to_owned(),
        format!("--basedir={base}"),
        format!("--lc-messages-dir={base}/share/mysql"),
        format!("--plugin-dir={base}/lib/mysql/plugin"),
        // Debian's default is a folder that its package makes.
        "--secure-file-priv=NULL".to_owned(),
    ];
    start.extend(Common::user());
    start.extend(common.data());
    run(Command::new(&start[0]).args(&start[1..]).arg("--initialize-insecure"))?;
    start.push("--mysqlx=OFF".to_owned());
    Ok(common.recipe(start, options))
}
