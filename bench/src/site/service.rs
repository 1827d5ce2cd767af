//! One process of the service.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{Launch, Process, process::free_address};
use crate::client::Http;

/// Starts the service on a database, and waits until it is ready.
pub(super) async fn start(program: &Path, url: &str, log: PathBuf) -> anyhow::Result<(Process, SocketAddr)> {
    let address = free_address();
    let mut process = Launch::new(program)
        .env("DATABASE_URL", url)
        .env("DB_LOCKS_LISTEN", &address.to_string())
        .start(log, "TERM");
    process.ready(async || is_ready(address).await).await?;
    Ok((process, address))
}

/// Whether the service reports that it is ready.
async fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut http) = Http::connect(address).await else {
        return false;
    };
    http.call("GET", "/ready", "").await.is_ok_and(|(status, _)| status == 200)
}
