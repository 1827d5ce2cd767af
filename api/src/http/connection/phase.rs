//! The phases of the service.

/// The phase of the service: serving, or a step of its shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::http) enum Phase {
    /// The service serves.
    Serving,
    /// The service shuts down: each answer is the last one on its connection.
    Draining,
    /// Connections without a request are closed.
    Closing,
    /// All connections are closed.
    Ended,
}
