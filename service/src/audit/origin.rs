//! Where a request comes from.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

/// Where a request comes from, as its records name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Who asks: `token:NAME`, `jwt:ISSUER_NAME:SUB` or `certificate:SUBJECT`, once that is known.
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
    /// Of a request that nobody is known to have sent.
    pub const fn new(client: IpAddr, request_id: Box<str>) -> Self {
        Self { who: OnceLock::new(), client, request_id }
    }

    /// Notes who asks.
    pub fn identify(&self, who: Arc<str>) {
        // A request is let in once.
        let _ = self.who.set(who);
    }

    /// Who asks; `None` without authentication, and for whoever was not let in.
    pub fn who(&self) -> Option<&str> {
        self.who.get().map(|who| &**who)
    }

    /// Goes on with the request that comes from here: what the engine is asked meanwhile bears it.
    pub fn enter<T>(self: &Arc<Self>, go_on: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), go_on)
    }

    /// The origin of the request that is being served by this task, if the trail is on.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }
}
