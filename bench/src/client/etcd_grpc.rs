//! etcd over gRPC, with a connection and a lease a client.
//!
//! The crate `etcd-client` is tonic and prost with messages that `protoc` generates at build. The four messages that a
//! lock needs are written out here instead, on the same tonic and prost, so that no one who builds this needs `protoc`.

use std::net::SocketAddr;

use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::{Ask, Failure, Grant};

/// `etcdserverpb.LeaseGrantRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct LeaseGrantRequest {
    /// Seconds.
    #[prost(int64, tag = "1")]
    ttl: i64,
}

/// `etcdserverpb.LeaseGrantResponse`, as far as it is read.
#[derive(Clone, PartialEq, prost::Message)]
struct LeaseGrantResponse {
    /// The lease.
    #[prost(int64, tag = "2")]
    id: i64,
}

/// `v3lockpb.LockRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct LockRequest {
    /// What is locked.
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    /// The lease that the lock hangs on.
    #[prost(int64, tag = "2")]
    lease: i64,
}

/// `v3lockpb.LockResponse`, as far as it is read.
#[derive(Clone, PartialEq, prost::Message)]
struct LockResponse {
    /// The key that stands for the ownership.
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
}

/// `v3lockpb.UnlockRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct UnlockRequest {
    /// The key that the lock answered.
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

/// `v3lockpb.UnlockResponse`, of which nothing is read.
#[derive(Clone, PartialEq, prost::Message)]
struct UnlockResponse {}

/// A client over gRPC.
#[derive(Debug)]
pub(crate) struct EtcdGrpc {
    grpc: Grpc<Channel>,
    lease: i64,
}

impl EtcdGrpc {
    /// Connects, and is granted the lease that its locks hang on.
    pub(super) async fn connect(address: SocketAddr, ask: Ask) -> Result<Self, Failure> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Failure::driver("connect", &error))?;
        let channel = endpoint.connect().await.map_err(|error| Failure::driver("connect", &error))?;
        let mut client = Self { grpc: Grpc::new(channel), lease: 0 };
        let ttl = i64::try_from(ask.lease_ms.div_ceil(1_000)).unwrap_or(i64::MAX);
        let request = LeaseGrantRequest { ttl };
        let answer: LeaseGrantResponse = client.call("/etcdserverpb.Lease/LeaseGrant", request).await?;
        client.lease = answer.id;
        Ok(client)
    }

    /// Locks, however long that takes; the grant's name is etcd's key, which is text since the lock's name is.
    pub(super) async fn acquire(&mut self, key: &str) -> Result<Grant, Failure> {
        let request = LockRequest { name: key.as_bytes().to_vec(), lease: self.lease };
        let answer: LockResponse = self.call("/v3lockpb.Lock/Lock", request).await?;
        let name = String::from_utf8(answer.key).map_err(|_| Failure::Malformed("lock"))?;
        Ok(Grant { name, ..Grant::default() })
    }

    /// Unlocks.
    pub(super) async fn release(&mut self, grant: &Grant) -> Result<(), Failure> {
        let request = UnlockRequest { key: grant.name.as_bytes().to_vec() };
        self.call::<_, UnlockResponse>("/v3lockpb.Lock/Unlock", request).await.map(drop)
    }

    /// Makes one call.
    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, Failure>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.grpc.ready().await.map_err(|error| Failure::driver(path, &error))?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = self.grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await;
        answer.map(tonic::Response::into_inner).map_err(|error| Failure::driver(path, &error))
    }
}
