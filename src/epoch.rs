//! `db-locks epoch`: raises the epoch of fencing tokens, directly in the database.

use std::io::Write;

use db_locks_service::store::{self, RaisedByHand};

use crate::{
    Failure,
    cli::{DatabaseArgs, EpochCommand},
    failure::with_place,
    migrate::confirm,
};

/// Runs the command.
pub(crate) async fn epoch(database: &DatabaseArgs, command: EpochCommand) -> Result<(), Failure> {
    let EpochCommand::Raise { yes } = command;
    confirm(yes, "This ends all grants of all tenants; holders lose their locks.")?;
    let options = database.options()?;
    let raised = async {
        store::check_schema(&options).await?;
        store::raise_epoch(&options).await
    };
    let RaisedByHand { epoch, ended } = raised.await.map_err(|error| with_place(options.place(), error))?;
    let epoch = epoch.number();
    writeln!(
        std::io::stdout(),
        "the epoch is {epoch}; {ended} grants were ended; services that run follow within 2 s"
    )?;
    Ok(())
}
