//! What is generated from the command line: completions for shells, and manual pages.

use std::{io::Write, path::Path};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{Failure, cli::Cli};

/// Prints the completions for a shell.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "db-locks", &mut text);
    Ok(std::io::stdout().write_all(&text)?)
}

/// Writes the manual pages into a folder, one a command.
pub(crate) fn manual(folder: &Path) -> Result<(), Failure> {
    Ok(clap_mangen::generate_to(Cli::command(), folder)?)
}
