//! The common part of the SQL servers: they are set up and started as for the tests.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context;
use db_locks_testing::{Kind, Options, Recipe, set_up as set_up_server};

use super::{Launch, Process, Programs};

/// The limit of connections: 512 clients, and some observers.
const CONNECTIONS: u16 = 700;

/// Sets a server up, durable as it is by default.
pub(super) fn set_up(
    kind: Kind,
    programs: &Arc<Programs>,
    folder: &Path,
    settings: &[&str],
) -> anyhow::Result<(Recipe, SocketAddr)> {
    let programs = programs.server(kind).with_context(|| format!("no {kind:?}"))?;
    let options = Options { connections: CONNECTIONS, settings };
    let recipe = set_up_server(programs, folder, options).map_err(anyhow::Error::msg)?;
    let address = ([127, 0, 0, 1], recipe.port).into();
    Ok((recipe, address))
}

/// Starts the server. `signal` will end it.
pub(super) fn start(recipe: &Recipe, signal: &'static str) -> Process {
    Launch::of(recipe.command.clone()).start(recipe.folder.join("server.log"), signal)
}
