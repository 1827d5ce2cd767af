//! The program as an operator sees it: stopping, migrating, its command line.

mod command_line;
mod corrupt;
mod defaults;
mod logs;
mod metrics;
mod migrations;
mod poolers;
mod readme;
mod stopping;

use crate::conformance::on_every_database;
