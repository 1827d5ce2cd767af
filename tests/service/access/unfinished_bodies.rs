//! A tenant sends bodies without end, over the HTTP/2 connection that it shares with another one.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body_util::BodyExt;
use hyper::{
    Request,
    body::{Body, Bytes, Frame},
    client::conn::http2::SendRequest,
};
use serde_json::json;
use tokio::{sync::oneshot, task::JoinHandle};

use super::Guarded;
use crate::support::{Client, Dialect, connect_http2};

/// The bodies without end: more than all room for bodies that have arrived in part.
const UNENDING: usize = 300;
const BYTES: usize = 250 * 1024;
/// A few less than find no room even if one tenant may fill all of it.
const REFUSED: usize = 30;

/// A body that arrives in two parts.
struct InParts {
    first: Option<Bytes>,
    second: oneshot::Receiver<Bytes>,
    has_ended: bool,
}

impl Body for InParts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        let second = ready!(Pin::new(&mut self.second).poll(cx));
        self.has_ended = true;
        Poll::Ready(second.ok().map(|second| Ok(Frame::data(second))))
    }
}

type Sender = SendRequest<InParts>;

/// A request with the headers of a usual client, and what sends the second part of its body.
fn request(svc: &Client, path: &str, first: Bytes) -> (Request<InParts>, oneshot::Sender<Bytes>) {
    let (send, second) = oneshot::channel();
    let request = Request::post(format!("http://localhost{path}"))
        .header("x-tenant", svc.tenant())
        .header("authorization", format!("Bearer {}", svc.token().unwrap()))
        .header("content-type", "application/json")
        .header("user-agent", "python-requests/2.32.3")
        .header("accept", "*/*")
        .header("accept-encoding", "gzip, deflate")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(InParts { first: Some(first), second, has_ended: false });
    (request.unwrap(), send)
}

/// Waits until the service has read what was sent over the connection before. It answers later requests only then.
async fn settle(sender: &mut Sender) {
    for _ in 0..5 {
        let body = InParts { first: None, second: oneshot::channel().1, has_ended: true };
        let health = Request::get("http://localhost/health").body(body).unwrap();
        let answer = sender.send_request(health).await.unwrap();
        answer.into_body().collect().await.unwrap();
    }
}

/// The status of the answer to a request whose body arrives in parts.
async fn post_in_parts(mut sender: Sender, svc: &Client, path: &str, parts: [String; 2]) -> u16 {
    let [first, second] = parts.map(Bytes::from);
    let (request, send) = request(svc, path, first);
    let answer = tokio::spawn(sender.send_request(request));
    settle(&mut sender).await;
    // It may have refused the request already.
    drop(send.send(second));
    answer.await.unwrap().unwrap().status().as_u16()
}

/// The bodies without end of a tenant.
struct Filling {
    sender: Sender,
    svc: Client,
    /// None of the bodies ends before this is dropped.
    ends: Vec<oneshot::Sender<Bytes>>,
}

impl Filling {
    /// Begins a body without end.
    fn begin(&mut self, bytes: usize) -> JoinHandle<u16> {
        let (request, end) = request(&self.svc, "/locks/filling/acquire", vec![b' '; bytes].into());
        self.ends.push(end);
        let answer = self.sender.send_request(request);
        tokio::spawn(async { answer.await.unwrap().status().as_u16() })
    }

    /// Begins bodies until there is room for none of this size. Several at a time, since the first ones end after 20 s.
    async fn fill(&mut self, bytes: usize) {
        let mut has_room = true;
        while has_room {
            let answers: Vec<_> = (0..10).map(|_| self.begin(bytes)).collect();
            settle(&mut self.sender).await;
            has_room = false;
            for answer in answers {
                if answer.is_finished() {
                    assert_eq!(answer.await.unwrap(), 503);
                } else {
                    has_room = true;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_tenant_whose_bodies_never_end_leaves_room_for_those_of_another() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let guarded = Guarded::start(&database).await;
    let of = async |tenant| {
        guarded.client(json!({"name": tenant, "role": "write", "tenant": tenant})).await.with_tenant(tenant)
    };
    let (filling, other) = (of("filling").await, of("other").await);
    let held = other.hold("held").await;
    let shared = connect_http2(guarded.service.port()).await;
    let mut bodies = Filling { sender: shared.clone(), svc: filling.clone(), ends: Vec::new() };
    let begun: Vec<_> = (0..UNENDING).map(|_| bodies.begin(BYTES)).collect();
    for bytes in [16 * 1024, 1] {
        bodies.fill(bytes).await;
    }
    assert!(begun.iter().filter(|answer| answer.is_finished()).count() >= REFUSED);
    let own = connect_http2(guarded.service.port()).await;
    for (name, sender) in [("shared", shared), ("own", own.clone())] {
        let heartbeat = [r#"{"version":""#.to_owned(), format!(r#"{}"}}"#, held.version)];
        assert_eq!(
            post_in_parts(sender.clone(), &other, "/locks/held/heartbeat", heartbeat).await,
            200,
            "{name}"
        );
        let data = "d".repeat(20_000);
        let acquire = [format!(r#"{{"wait_ms":0,"data":"{data}"#), r#""}"#.to_owned()];
        let path = format!("/locks/{name}/acquire");
        assert_eq!(post_in_parts(sender, &other, &path, acquire).await, 200, "{name}");
    }
    let acquire = [" ".repeat(20_000), r#"{"wait_ms":0}"#.to_owned()];
    assert_eq!(post_in_parts(own, &filling, "/locks/filling/acquire", acquire).await, 503);
}
