//! One Redis that writes each command to its disk before it answers.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Launch, Process, Programs, process::free_address};

/// A Redis that keeps nothing from one start to the next.
#[derive(Debug)]
pub(super) struct Redis {
    program: PathBuf,
    folder: PathBuf,
    /// The running server.
    pub(super) process: Option<Process>,
}

impl Redis {
    /// A server that is not started.
    pub(super) fn new(programs: &Arc<Programs>, folder: &Path) -> anyhow::Result<Self> {
        let program = programs.redis.clone().context("no Redis")?;
        Ok(Self { program, folder: folder.to_owned(), process: None })
    }

    /// Starts the server, empty, and waits until it answers.
    pub(super) async fn start(&mut self) -> anyhow::Result<SocketAddr> {
        let data = self.folder.join("data");
        if data.exists() {
            fs::remove_dir_all(&data).context("remove Redis' data")?;
        }
        fs::create_dir(&data).context("create Redis' folder")?;
        let address = free_address();
        let launch = Launch::new(&self.program)
            .args(["--bind", "127.0.0.1", "--port", address.port().to_string().as_str(), "--dir"])
            .args([data.display().to_string()])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"]);
        let process = self.process.insert(launch.start(self.folder.join("redis.log"), "TERM"));
        process.ready(async || answers(address).await).await?;
        Ok(address)
    }
}

/// Whether the server answers a ping.
async fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return false;
    };
    let mut answer = [0; 7];
    stream.write_all(b"PING\r\n").await.is_ok()
        && stream.read_exact(&mut answer).await.is_ok()
        && &answer == b"+PONG\r\n"
}
