//! etcd over gRPC, with a connection and a lease a client.
//!
//! The crate `etcd-client` is tonic and prost with messages that `protoc` generates during the build. Here the messages
//! that a lock needs are written by hand for the same tonic and prost, so that the build does not need `protoc`.

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
    /// The name of the lock.
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    /// The lease to which the lock is attached.
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
    /// The key from the answer to the lock.
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
    /// Connects, and gets the lease to which its locks are attached.
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

    /// Locks, however long that takes. The name of the grant is etcd's key, which is text because the name of the lock
    /// is text.
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
