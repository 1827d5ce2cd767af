//! Generates completions for shells, and manual pages, from the command line.

use std::{io::Write, path::Path};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{Failure, cli::Cli};

const NAME: &str = "db-locks";

/// Prints the completions for a shell.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let text = if shell == Shell::Bash { for_bash() } else { generate(shell, NAME) };
    Ok(std::io::stdout().write_all(&text)?)
}

fn generate(shell: Shell, name: &str) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), name, &mut text);
    text
}

/// `clap_complete`'s bash script completes only the first word if the program's name has a hyphen: it looks up its cases by
/// another label. So the script is generated for a name without a hyphen, and its last lines register it for the real name.
fn for_bash() -> Vec<u8> {
    const WITHOUT_HYPHEN: &str = "db_locks";
    let text = String::from_utf8_lossy(&generate(Shell::Bash, WITHOUT_HYPHEN)).into_owned();
    text.replace(&format!(" -o default {WITHOUT_HYPHEN}\n"), &format!(" -o default {NAME}\n")).into_bytes()
}

/// Writes the manual pages into a folder, one for each command.
pub(crate) fn manual(folder: &Path) -> Result<(), Failure> {
    let written = clap_mangen::generate_to(Cli::command(), folder);
    written.map_err(|error| format!("cannot write manual pages into {}: {error}", folder.display()).into())
}
