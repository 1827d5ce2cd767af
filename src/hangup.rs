//! SIGHUP: reopens or rereads the files that settings name.

use tokio::signal::unix::{SignalKind, signal};

/// Calls `action` at each SIGHUP while the program runs.
pub(crate) fn on_hangup(mut act: impl FnMut() + Send + 'static) -> std::io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    // If this task ends, files are no longer reread; nothing else depends on it.
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            tracing::info!("SIGHUP: files are opened again");
            act();
        }
    });
    Ok(())
}
