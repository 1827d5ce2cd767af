//! etcd through its HTTP gateway: `/v3/lock/lock` and `/v3/lock/unlock`, with a lease for each client.

use std::net::SocketAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Ask, Failure, Grant, Http,
    http::{member, tail_of_head},
};

/// A client of the gateway.
#[derive(Debug)]
pub(crate) struct EtcdGateway {
    http: Http,
    ask: Ask,
    lease: String,
    body: String,
    request: Vec<u8>,
}

impl EtcdGateway {
    /// Connects, and gets the lease to which its locks are attached.
    pub(super) async fn connect(address: SocketAddr, ask: Ask) -> Result<Self, Failure> {
        let http = Http::connect(address).await?;
        let mut client = Self { http, ask, lease: String::new(), body: String::new(), request: Vec::new() };
        client.lease = client.grant_lease().await?;
        Ok(client)
    }

    /// Locks, however long that takes. The name of the grant is etcd's key, in Base64 as in the answer of the gateway.
    pub(super) async fn acquire(&mut self, key: &str) -> Result<Grant, Failure> {
        let lease = if self.ask.lease_each { self.grant_lease().await? } else { self.lease.clone() };
        self.body.clear();
        self.body.push_str(r#"{"name":""#);
        STANDARD.encode_string(key, &mut self.body);
        for part in [r#"","lease":""#, &lease, r#""}"#] {
            self.body.push_str(part);
        }
        let answer = self.post("/v3/lock/lock").await?;
        let name = member(answer, br#""key":""#).ok_or(Failure::Malformed("lock"))?.to_owned();
        Ok(Grant { name, lease, fencing_token: 0 })
    }

    /// Unlocks.
    pub(super) async fn release(&mut self, grant: &Grant) -> Result<(), Failure> {
        self.put_body(&[r#"{"key":""#, &grant.name, r#""}"#]);
        self.post("/v3/lock/unlock").await.map(drop)
    }

    /// Keeps the grant's lease alive. etcd writes nothing to its disk for it.
    pub(super) async fn heartbeat(&mut self, grant: &Grant) -> Result<(), Failure> {
        self.put_body(&[r#"{"ID":""#, &grant.lease, r#""}"#]);
        let answer = self.post("/v3/lease/keepalive").await?;
        // The answer about a lease that is gone has no time to live.
        member(answer, br#""TTL":""#).map(drop).ok_or(Failure::Refused("keepalive"))
    }

    /// Gets a lease.
    async fn grant_lease(&mut self) -> Result<String, Failure> {
        let seconds = self.ask.lease_ms.div_ceil(1_000).to_string();
        self.put_body(&[r#"{"TTL":""#, &seconds, r#""}"#]);
        let answer = self.post("/v3/lease/grant").await?;
        member(answer, br#""ID":""#).map(str::to_owned).ok_or(Failure::Malformed("lease"))
    }

    /// Builds the body of the next request.
    fn put_body(&mut self, parts: &[&str]) {
        self.body.clear();
        self.body.extend(parts.iter().copied());
    }

    /// Sends the request, and expects 200.
    async fn post(&mut self, path: &'static str) -> Result<&[u8], Failure> {
        self.request.clear();
        for part in ["POST ", path, &tail_of_head(self.body.len()), &self.body] {
            self.request.extend_from_slice(part.as_bytes());
        }
        match self.http.exchange(&self.request).await? {
            (200, body) => Ok(body),
            (status, _) => Err(Failure::Status { call: path, status }),
        }
    }
}
