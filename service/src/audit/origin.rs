//! The origin of a request.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

/// The origin of a request, as its audit records name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The caller: `token:NAME`, `jwt:ISSUER_NAME:SUB` or `certificate:SUBJECT`, once it is known.
    who: OnceLock<Arc<str>>,
    /// The client's address.
    pub client: IpAddr,
    /// The id of the request.
    pub request_id: Box<str>,
}

tokio::task_local! {
    static CURRENT: Arc<Origin>;
}

impl Origin {
    /// The origin of a request whose caller is not known yet.
    pub const fn new(client: IpAddr, request_id: Box<str>) -> Self {
        Self { who: OnceLock::new(), client, request_id }
    }

    /// Records the caller.
    pub fn identify(&self, who: Arc<str>) {
        // A request is authenticated once.
        let _ = self.who.set(who);
    }

    /// The caller; `None` without authentication, and if authentication failed.
    pub fn who(&self) -> Option<&str> {
        self.who.get().map(|who| &**who)
    }

    /// Runs a part of the request: commands that it gives to the engine carry this origin.
    pub fn enter<T>(self: &Arc<Self>, go_on: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), go_on)
    }

    /// Lets work that will be done in another task act for the origin of this one.
    pub(crate) fn carry<W: Future>(work: W) -> impl Future<Output = W::Output> + use<W> {
        let origin = Self::current();
        async move {
            match origin {
                Some(origin) => CURRENT.scope(origin, work).await,
                None => work.await,
            }
        }
    }

    /// The origin of the request that this task serves, if the trail is on.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }
}
