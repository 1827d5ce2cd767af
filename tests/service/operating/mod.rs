//! The program as an operator sees it: stopping, migrating, its command line.

mod command_line;
mod defaults;
mod migrations;
mod stopping;

use crate::conformance::on_every_database;
