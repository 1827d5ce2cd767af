//! Sets up servers.

use std::path::Path;

use crate::{
    mariadb, mysql, postgres,
    programs::{Kind, Programs},
    recipe::{Options, Recipe},
};

/// Sets a server up in a folder.
pub fn set_up(programs: &Programs, folder: &Path, options: Options<'_>) -> Result<Recipe, String> {
    match programs.kind {
        Kind::Postgres => postgres::set_up(programs, folder, options),
        Kind::MariaDb => mariadb::set_up(programs, folder, options),
        Kind::MySql => mysql::set_up(programs, folder, options),
    }
}
