//! Reads a body. Its size is checked first, then its declared type.

#[cfg(test)]
mod tests;

use std::{sync::LazyLock, time::Duration};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use db_locks_service::{Unavailable, domain::Tenant};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::{
    auth::{Authentication, RECHECK_AFTER},
    http::{OwnRoom, SharedRoom, copy_of_uri, head_memory},
    problem::{Problem, ProblemKind},
};

/// The largest body that is read.
const MOST_BYTES: usize = 256 * 1024;
/// How many bytes of a body that is too large are read and discarded. Otherwise a caller that sends everything before it reads
/// would see a reset connection instead of the answer.
const MOST_DISCARDED: usize = 64 * 1024 * 1024;
/// How long discarding may take in all, and without a byte: a caller that announced a body and waits for the answer must not
/// wait long.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
const DISCARD_PAUSE: Duration = Duration::from_millis(200);
/// The largest total size of requests whose bodies have arrived in part, in KiB: 64 MiB. A request that arrives as a whole takes none.
const MOST_PARTS: usize = 64 * 1024;
const UNIT: usize = 1024;
/// The size of a small request, in the same unit. One on each connection takes no room of others, so that no heartbeat is refused
/// because others send bodies without end. The number of connections is bounded.
const SMALL: usize = 8;
/// The room for the other ones: with HTTP/2 a client may send a thousand of them on each connection.
static PARTS: LazyLock<SharedRoom> = LazyLock::new(|| SharedRoom::new(MOST_PARTS));
/// How long a body may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads the whole body of a request of this tenant. A body that is too large is answered 413; one that is neither empty nor declared
/// as JSON, 415.
///
/// If the body was long on its way, the credential of the request is checked again: it may have ended.
pub(super) async fn read(
    parts: &mut Parts,
    body: Body,
    tenant: &Tenant,
    authentication: Option<&Authentication>,
) -> Result<Bytes, Problem> {
    let Arrived { bytes, is_late } = read_whole(parts, body, tenant, &PARTS).await?;
    if is_late && let Some(authentication) = authentication {
        let client = parts.extensions.get::<OwnRoom>().map(OwnRoom::network);
        authentication.check_again(parts, client).await?;
    }
    if !bytes.is_empty() {
        check_media_type(&parts.headers)?;
    }
    Ok(bytes)
}

/// A whole body.
#[derive(Debug)]
struct Arrived {
    bytes: Bytes,
    /// Whether it came long after its head.
    is_late: bool,
}

async fn read_whole(
    parts: &mut Parts,
    mut body: Body,
    tenant: &Tenant,
    shared: &SharedRoom,
) -> Result<Arrived, Problem> {
    if body.size_hint().lower() > MOST_BYTES as u64 {
        // A caller that asks before it sends has sent nothing that would have to be read.
        if !parts.headers.contains_key(header::EXPECT) {
            discard(body).await;
        }
        return Err(too_large());
    }
    let deadline = Instant::now() + READ_TIMEOUT;
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    let (mut own, mut share, mut has_waited) = (None, None, false);
    loop {
        let data = if let Some(data) = next_data(&mut body, deadline).now_or_never() {
            data?
        } else {
            if !has_waited {
                parts.uri = copy_of_uri(&parts.uri);
                has_waited = true;
            }
            let own_room = parts.extensions.get::<OwnRoom>();
            own = own.or_else(|| own_room.and_then(OwnRoom::try_take));
            let free = if own.is_some() { SMALL } else { 0 };
            let size = head_memory(&parts.uri, &parts.headers) + whole.len() + pieces.len();
            let units = size.div_ceil(UNIT).saturating_sub(free);
            if units > 0 {
                let network = own_room.map(OwnRoom::network);
                if !share.get_or_insert_with(|| shared.share(Some(tenant), network)).grow_to(units) {
                    return Err(Unavailable::Overloaded.into());
                }
            }
            next_data(&mut body, deadline).await?
        };
        let Some(data) = data else { break };
        if whole.len() + pieces.len() + data.len() > MOST_BYTES {
            discard(body).await;
            return Err(too_large());
        }
        // Nearly every body arrives in one piece, which needs no copy.
        if whole.is_empty() && pieces.is_empty() {
            whole = data;
        } else {
            pieces.extend_from_slice(&std::mem::take(&mut whole));
            pieces.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    let is_late = has_waited && Instant::now() + READ_TIMEOUT >= deadline + RECHECK_AFTER;
    Ok(Arrived { bytes: if pieces.is_empty() { whole } else { pieces.freeze() }, is_late })
}

/// Reads the next piece of a body; `None` at its end.
async fn next_data(body: &mut Body, deadline: Instant) -> Result<Option<Bytes>, Problem> {
    loop {
        // A piece that has arrived already needs no timer.
        let frame = match body.frame().now_or_never() {
            Some(frame) => frame,
            None => tokio::time::timeout_at(deadline, body.frame()).await.map_err(|_| {
                Problem::new(ProblemKind::RequestTimeout, "The body did not arrive within 30 seconds.")
            })?,
        };
        match frame {
            None => return Ok(None),
            Some(Err(_)) => {
                return Err(Problem::invalid_field(
                    "body",
                    "ended early, or a line of its chunks is not accepted",
                ));
            }
            // Trailers are ignored.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn discard(mut body: Body) {
    let deadline = Instant::now() + DISCARD_TIMEOUT;
    let mut left = MOST_DISCARDED;
    while let Ok(Some(data)) = next_data(&mut body, deadline.min(Instant::now() + DISCARD_PAUSE)).await {
        match left.checked_sub(data.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

fn too_large() -> Problem {
    Problem::new(ProblemKind::PayloadTooLarge, "A body may have at most 256 KiB.")
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    // One pass, since each look-up would hash a name. The first value of a name counts.
    let (mut encoding, mut declared) = (None, None);
    for (name, value) in headers {
        if name == header::CONTENT_TYPE {
            declared.get_or_insert(value);
        } else if name == header::CONTENT_ENCODING {
            encoding.get_or_insert(value);
        }
    }
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            "The body must not be encoded: send it without Content-Encoding.",
        ));
    }
    if declared.is_some_and(|value| is_json(value.as_bytes())) {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::UnsupportedMediaType,
        "The body must be JSON and be sent with Content-Type: application/json. With curl use `curl --json '{…}'`, or \
         before version 7.82 `curl -H 'content-type: application/json' -d '{…}'`.",
    ))
}

/// Whether a content type is JSON, whatever its parameters.
fn is_json(value: &[u8]) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}
