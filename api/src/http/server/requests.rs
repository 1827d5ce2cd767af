//! The requests of one connection.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderValue, Request, header},
    response::Response,
};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    HttpService,
    body::{AnswerBody, FIRST_PIECE, PIECE},
    connection_memory::{BodyBytes, ConnectionMemory, RequestMemory, STREAM_BYTES},
    request_body::RequestBody,
    streams::{Answered, Streams},
};
use crate::http::{
    BodyMemory,
    connection::{ClientBody, Connection, InFlight, UnbufferedGrant, Unconfirmed},
};

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Answers the requests of one connection.
pub(super) struct Requests<S> {
    client: Arc<Connection>,
    /// Shared with requests that have not begun, so that none needs a clone of it. One after the other calls it.
    service: Arc<Mutex<S>>,
    /// For HTTP/2.
    streams: Option<Streams>,
    memory: Arc<ConnectionMemory>,
}

impl<S: HttpService> Requests<S> {
    /// The requests of this client over HTTP/1.1.
    pub(super) fn new(client: Arc<Connection>, service: S, memory: Arc<ConnectionMemory>) -> Self {
        Self { client, service: Arc::new(Mutex::new(service)), streams: None, memory }
    }

    /// The same over HTTP/2, with these streams.
    pub(super) fn over_http2(self, streams: Streams) -> Self {
        Self { streams: Some(streams), ..self }
    }

    /// The connection.
    pub(super) const fn client(&self) -> &Arc<Connection> {
        &self.client
    }

    /// Answers a request. `body` counts what is read of its body.
    fn answer(&self, request: Request<ClientBody>, body: Option<BodyBytes>) -> ResponseFuture<S> {
        let in_flight = Some(InFlight::new(self.client.clone()));
        let memory = Arc::clone(&self.memory);
        let Some(streams) = &self.streams else {
            // hyper polls it at once.
            let progress = Progress::Begun(call(&self.service, request));
            return ResponseFuture { progress, in_flight, answered: None, memory };
        };
        let of_request = RequestMemory::of(&request, self.client.longest_head(), body);
        let answered = Some(streams.request(self.memory.count_request(&self.client, of_request)));
        let progress = Progress::Arrived(Some((request, Arc::clone(&self.service))));
        ResponseFuture { progress, in_flight, answered, memory }
    }
}

fn call<S: HttpService>(service: &Mutex<S>, request: Request<ClientBody>) -> S::Future {
    // The service is always ready.
    service.lock().unwrap_or_else(PoisonError::into_inner).call(request)
}

impl<S: HttpService> hyper::service::Service<Request<Incoming>> for Requests<S> {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = ResponseFuture<S>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let is_counted = self.streams.is_some() && !request.body().is_end_stream();
        let bytes = is_counted.then(BodyBytes::default);
        let read = |body| Body::new(RequestBody::new(body, self.client.clone(), bytes.clone()));
        let request = request.map(|body| ClientBody::new(read(body), self.client.clone()));
        self.answer(request, bytes)
    }
}

/// The answer to one request.
pub(super) struct ResponseFuture<S: HttpService> {
    progress: Progress<S>,
    /// `None` once it moved into the answer's body.
    in_flight: Option<InFlight>,
    answered: Option<Answered>,
    memory: Arc<ConnectionMemory>,
}

/// How far a request is.
#[expect(
    clippy::large_enum_variant,
    reason = "the answer of the middleware is as large, which Clippy cannot know"
)]
enum Progress<S: HttpService> {
    /// It waits until its stream begins, which may take many turns. Its credential is checked then and not before: it may end meanwhile.
    /// `None` once it has begun.
    Arrived(Option<(Request<ClientBody>, Arc<Mutex<S>>)>),
    Begun(S::Future),
}

impl<S: HttpService> Progress<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response, Infallible>> {
        if let Self::Arrived(arrived) = self
            && let Some((request, service)) = arrived.take()
        {
            *self = Self::Begun(call(&service, request));
        }
        match self {
            Self::Begun(answer) => Pin::new(answer).poll(cx),
            // Only if the service panicked, which ends the connection.
            Self::Arrived(_) => Poll::Pending,
        }
    }
}

impl<S: HttpService> Future for ResponseFuture<S> {
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(mut answer) = ready!(self.progress.poll(cx));
        let in_flight = self.in_flight.take();
        match &self.answered {
            Some(answered) => {
                let _ = answered.set(Instant::now());
            }
            None if in_flight.as_ref().is_some_and(|in_flight| in_flight.connection().is_ending()) => {
                answer.headers_mut().insert(header::CONNECTION, CLOSE);
            }
            None => {}
        }
        let grant = answer.extensions_mut().remove::<Unconfirmed>();
        let grant = grant
            .zip(in_flight.as_ref())
            .map(|(grant, in_flight)| UnbufferedGrant::new(grant, Arc::clone(in_flight.shared_connection())));
        let is_shared = matches!(answer.extensions().get::<BodyMemory>(), Some(BodyMemory::Shared));
        let is_http2 = self.answered.is_some();
        let own = if is_shared { 0 } else { answer.body().size_hint().lower() };
        let bytes = usize::try_from(own).unwrap_or(usize::MAX).saturating_add(if is_http2 {
            STREAM_BYTES
        } else {
            0
        });
        let unread =
            in_flight.as_ref().and_then(|in_flight| self.memory.count(in_flight.shared_connection(), bytes));
        let first_piece = if is_http2 { FIRST_PIECE } else { PIECE };
        Poll::Ready(Ok(answer.map(|body| AnswerBody::new(body, in_flight, grant, unread, first_piece))))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Ready, ready},
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures_util::FutureExt;

    use super::*;

    /// Otherwise a credential would act for as long as its connection waits for turns after its end.
    #[test]
    fn a_request_over_http2_is_checked_when_it_begins() {
        let calls = Arc::new(AtomicUsize::new(0));
        let service = tower::service_fn({
            let calls = Arc::clone(&calls);
            move |_: Request<ClientBody>| -> Ready<Result<Response, Infallible>> {
                calls.fetch_add(1, Ordering::Relaxed);
                ready(Ok(Response::default()))
            }
        });
        let client = Connection::for_test(false);
        let requests = Requests::new(Arc::clone(&client), service, Arc::default());
        let requests = requests.over_http2(Streams::default());
        let answer = requests.answer(Request::new(ClientBody::new(Body::empty(), Arc::clone(&client))), None);
        assert_eq!((calls.load(Ordering::Relaxed), client.requests().in_flight()), (0, 1));
        let answer = answer.now_or_never();
        assert!(answer.is_some_and(|answer| answer.is_ok()));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}
