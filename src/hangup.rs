//! SIGHUP: files that settings name are opened or read again.

use tokio::signal::unix::{SignalKind, signal};

/// Does this at each SIGHUP, for as long as the program runs.
pub(crate) fn on_hangup(mut act: impl FnMut() + Send + 'static) -> std::io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    // It holds nothing that anybody waits for: without it files are not read again, and nothing else.
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            tracing::info!("SIGHUP: files are opened again");
            act();
        }
    });
    Ok(())
}
