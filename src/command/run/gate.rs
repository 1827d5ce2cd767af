//! The gate: the command begins only when the watchdog knows its process group.
//!
//! If `run` started the command itself and was paused or killed before the watchdog knew the group, nothing would end the command. So
//! `run` starts this program again, as the leader of the group. That process becomes the command when it receives the standard
//! input of the command through a socket. If `run` ends earlier, the socket is closed, and the command never begins.

use std::{
    ffi::OsString,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Command, ExitCode},
};

use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg,
    },
    stdio::dup2_stdin,
};

use super::{
    super::exit::{NOT_EXECUTABLE, NOT_FOUND, say},
    part::part,
};

/// The first argument of the process that becomes the command.
pub(super) const NAME: &str = "run-command";

/// A closed gate. If it is dropped, the command does not begin.
pub(super) struct Gate {
    socket: UnixStream,
}

impl Gate {
    /// The process that waits at the gate and then becomes the command.
    pub(super) fn before(command: &[OsString]) -> io::Result<(Command, Self)> {
        let (socket, inside) = UnixStream::pair()?;
        let mut process = part(NAME)?;
        process.args(command).stdin(OwnedFd::from(inside));
        Ok((process, Self { socket }))
    }

    /// Lets the command begin, with the standard input of this process.
    pub(super) fn open(self) {
        // If this fails, the process at the gate has ended, or it ends now and says so.
        let _ = send(&self.socket, io::stdin());
    }
}

/// Waits at the gate, and becomes the command.
pub(super) fn become_command(command: &[OsString]) -> ExitCode {
    let Some((program, arguments)) = command.split_first() else {
        return ExitCode::from(NOT_FOUND);
    };
    if let Err(error) = receive(io::stdin()).and_then(|stdin| Ok(dup2_stdin(stdin)?)) {
        say(format_args!("the command does not begin: {error}"));
        return ExitCode::from(NOT_EXECUTABLE);
    }
    let error = Command::new(program).args(arguments).exec();
    say(format_args!("{}: {error}", program.display()));
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE })
}

/// Sends a file descriptor.
fn send(socket: &UnixStream, file: impl AsFd) -> io::Result<()> {
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Receives a file descriptor.
fn receive(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut received = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    received.next().and_then(|mut files| files.next()).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn the_file_that_is_sent_is_received() {
        let (socket, inside) = UnixStream::pair().unwrap();
        let (mut reader, mut writer) = io::pipe().unwrap();
        send(&socket, &writer).unwrap();
        let mut received = io::PipeWriter::from(receive(&inside).unwrap());
        writer.write_all(b"a").unwrap();
        received.write_all(b"b").unwrap();
        drop((writer, received));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ab");
    }

    #[test]
    fn a_gate_that_is_dropped_stays_closed() {
        let (socket, inside) = UnixStream::pair().unwrap();
        drop(Gate { socket });
        assert_eq!(receive(&inside).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
