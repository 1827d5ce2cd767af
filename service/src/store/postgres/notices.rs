//! Finds out whether PostgreSQL sent a warning with an answer.
//!
//! The driver passes the server's notices only to `tracing`. So a future that sends statements is polled under a
//! subscriber of this module, which records warnings and forwards everything to the program's own subscriber.

use std::{cell::Cell, future::poll_fn, pin::pin};

use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    dispatcher::{get_default, with_default},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};

/// The target of the driver's events for notices.
const NOTICES: &str = "sqlx::postgres::notice";

thread_local! {
    /// Whether a warning came during the current poll.
    static WARNED: Cell<bool> = const { Cell::new(false) };
}

/// A subscriber for the notices of statements.
#[derive(Debug)]
pub(super) struct Notices(Dispatch);

impl Notices {
    /// Forwards everything to the current subscriber.
    pub(super) fn new() -> Self {
        Self(Dispatch::new(Listener { others: get_default(Dispatch::clone) }))
    }

    /// Forwards nothing to other subscribers.
    pub(super) fn quiet() -> Self {
        Self(Dispatch::new(Listener { others: Dispatch::none() }))
    }

    /// Runs the work, and returns whether the server sent a warning meanwhile.
    pub(super) async fn listen<T>(&self, work: impl Future<Output = T>) -> (T, bool) {
        let mut work = pin!(work);
        let mut warned = false;
        let done = poll_fn(|context| {
            WARNED.set(false);
            let polled = with_default(&self.0, || work.as_mut().poll(context));
            warned |= WARNED.take();
            polled
        });
        (done.await, warned)
    }
}

struct Listener {
    others: Dispatch,
}

fn is_warning(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::WARN && metadata.target() == NOTICES
}

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // `enabled` asks the program's own subscriber.
        if is_warning(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_warning(metadata) || self.others.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        if is_warning(event.metadata()) {
            WARNED.set(true);
        }
        if self.others.enabled(event.metadata()) {
            self.others.event(event);
        }
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        self.others.new_span(attributes)
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        self.others.record(span, values);
    }

    fn record_follows_from(&self, span: &span::Id, follows: &span::Id) {
        self.others.record_follows_from(span, follows);
    }

    fn enter(&self, span: &span::Id) {
        self.others.enter(span);
    }

    fn exit(&self, span: &span::Id) {
        self.others.exit(span);
    }

    fn clone_span(&self, span: &span::Id) -> span::Id {
        self.others.clone_span(span)
    }

    fn try_close(&self, span: span::Id) -> bool {
        self.others.try_close(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_warning_of_the_server_is_heard_and_nothing_else() {
        let notices = Notices::new();
        let (answer, warned) = notices
            .listen(async {
                tracing::info!(target: "sqlx::postgres::notice", "a notice");
                tracing::warn!("of the program itself");
                1
            })
            .await;
        assert_eq!((answer, warned), (1, false));
        let (answer, warned) = notices
            .listen(async {
                tracing::warn!(target: "sqlx::postgres::notice", "a warning");
                tokio::task::yield_now().await;
                2
            })
            .await;
        assert_eq!((answer, warned), (2, true));
        tracing::warn!(target: "sqlx::postgres::notice", "of another statement");
        assert!(!notices.listen(async {}).await.1);
    }
}
