//! The parts of `run` that are processes of their own: this program, started again.

use std::{
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// On Linux this is the program that runs, even if its file was replaced meanwhile.
const RUNNING_PROGRAM: &str = "/proc/self/exe";

/// A part as a process, which is not started yet.
pub(super) fn part(name: &str) -> io::Result<Command> {
    let mut part = Command::new(this_program(Path::new(RUNNING_PROGRAM))?);
    part.arg0("db-locks").arg(name);
    Ok(part)
}

/// The file of this program: `running`, unless there is no such link, as without `/proc`.
fn this_program(running: &Path) -> io::Result<PathBuf> {
    // The link itself is checked: if the file was removed, only the link still leads to it.
    if running.is_symlink() {
        return Ok(running.to_owned());
    }
    let file = started_file()?;
    match file.metadata() {
        Ok(_) => Ok(file),
        Err(error) => {
            let (running, started) = (running.display(), file.display());
            let text = format!("this program is not found: there is no {running}, and {started}: {error}");
            Err(io::Error::new(error.kind(), text))
        }
    }
}

/// The file by which this program was started.
#[cfg(target_os = "linux")]
fn started_file() -> io::Result<PathBuf> {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    // The kernel has noted it beside the arguments. If it is relative, it is still right, since this program does not
    // change its folder.
    std::path::absolute(OsStr::from_bytes(rustix::param::linux_execfn().to_bytes()))
}

/// The file by which this program was started.
#[cfg(not(target_os = "linux"))]
fn started_file() -> io::Result<PathBuf> {
    std::env::current_exe()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_found_with_proc_and_without() {
        let running = Path::new(RUNNING_PROGRAM);
        assert_eq!(this_program(running).unwrap() == running, running.is_symlink());
        let file = this_program(Path::new("/no/proc/self/exe")).unwrap();
        assert_eq!(file.canonicalize().unwrap(), std::env::current_exe().unwrap().canonicalize().unwrap());
    }
}
