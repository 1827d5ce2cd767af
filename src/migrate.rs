//! `db-locks migrate`: migrates the schema.

use std::io::{BufRead, IsTerminal, Write};

use db_locks_service::store::{self, DatabaseOptions};

use crate::{
    Failure,
    cli::{DatabaseArgs, MigrateStep},
    failure::with_place,
};

/// Runs the command.
pub(crate) async fn migrate(database: &DatabaseArgs, step: MigrateStep) -> Result<(), Failure> {
    let options = database.options()?;
    let done = carry_out(&options, step).await;
    done.map_err(|error| with_place(options.place(), error))
}

async fn carry_out(options: &DatabaseOptions, step: MigrateStep) -> Result<(), Failure> {
    match step {
        MigrateStep::Up => store::migrate_up(options).await?,
        MigrateStep::Down { yes } => {
            confirm(yes, "This erases what the last migration created, locks and fencing tokens included.")?;
            store::migrate_down(options).await?;
        }
        MigrateStep::Status => {}
        MigrateStep::Redo { yes } => {
            confirm(yes, "This erases all locks and fencing tokens.")?;
            store::migrate_redo(options).await?;
        }
    }
    let mut out = std::io::stdout().lock();
    for migration in store::migrate_status(options).await? {
        let state = match (migration.applied, migration.known) {
            (true, true) => "applied",
            (true, false) => "applied by a newer version",
            (false, _) => "pending",
        };
        writeln!(out, "{state}  {}", migration.name)?;
    }
    Ok(())
}

/// Asks for confirmation. Without a terminal `--yes` is required.
pub(crate) fn confirm(yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(format!("{what} Give --yes to do it.").into());
    }
    let mut err = std::io::stderr().lock();
    write!(err, "{what} Go on? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if is_yes(&answer) { Ok(()) } else { Err("not done".into()) }
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_y_and_yes_are_a_yes() {
        for yes in ["y\n", "Y\n", "yes\n", " YES \r\n"] {
            assert!(super::is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n\n", "no\n", "yess\n", "ye\n"] {
            assert!(!super::is_yes(no), "{no:?}");
        }
    }
}
