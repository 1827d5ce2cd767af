//! The program as an operator sees it: stopping, migrating, its command line.

mod audit;
mod beside;
mod command_line;
mod completions;
mod corrupt;
mod defaults;
mod flood;
mod logs;
mod messages;
mod metrics;
mod migrating_alone;
mod migrations;
mod poolers;
mod readme;
mod sqlite_file;
mod stopping;
mod upgrade;

use crate::conformance::on_every_database;
