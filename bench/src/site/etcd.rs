//! One etcd, configured as in Debian except for its folder and its ports.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;

use super::{Launch, Process, Programs, process::free_address};
use crate::client::Http;

/// An etcd that keeps nothing from one start to the next.
#[derive(Debug)]
pub(super) struct Etcd {
    program: PathBuf,
    folder: PathBuf,
    /// The running server.
    pub(super) process: Option<Process>,
}

impl Etcd {
    /// A server that is not started.
    pub(super) fn new(programs: &Arc<Programs>, folder: &Path) -> anyhow::Result<Self> {
        let program = programs.etcd.clone().context("no etcd")?;
        Ok(Self { program, folder: folder.to_owned(), process: None })
    }

    /// Starts the server, empty, and waits until it has a leader.
    pub(super) async fn start(&mut self) -> anyhow::Result<SocketAddr> {
        let data = self.folder.join("data");
        if data.exists() {
            fs::remove_dir_all(&data).context("remove etcd's data")?;
        }
        let (client, peer) = (free_address(), free_address());
        let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
        let launch = Launch::new(&self.program)
            .args(["--name", "bench", "--log-level", "warn", "--data-dir"])
            .args([data.display().to_string()])
            .args([
                "--listen-client-urls",
                client_url.as_str(),
                "--advertise-client-urls",
                client_url.as_str(),
            ])
            .args([
                "--listen-peer-urls",
                peer_url.as_str(),
                "--initial-advertise-peer-urls",
                peer_url.as_str(),
            ])
            .args(["--initial-cluster".to_owned(), format!("bench={peer_url}")]);
        let process = self.process.insert(launch.start(self.folder.join("etcd.log"), "TERM"));
        process.ready(async || is_healthy(client).await).await?;
        Ok(client)
    }
}

/// Whether the server reports that it is healthy, which needs a leader.
async fn is_healthy(address: SocketAddr) -> bool {
    let Ok(mut http) = Http::connect(address).await else {
        return false;
    };
    http.call("GET", "/health", "")
        .await
        .is_ok_and(|(status, body)| status == 200 && body.contains("\"true\""))
}
