//! The pieces of an answer, and what they take along.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::sync::Arc;

use http_body_util::BodyExt;

use super::*;
use crate::http::{
    connection::Connection,
    server::{connection_memory::ConnectionMemory, tests::grants::Locks},
};

#[tokio::test]
async fn a_large_body_comes_in_pieces_and_its_length_is_known() {
    let whole: Vec<u8> = (0..=2 * PIECE).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let mut body = AnswerBody::new(Body::from(whole.clone()), None, None, None, FIRST_PIECE);
    let mut most = FIRST_PIECE;
    let mut left = whole.len();
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let bytes = frame.unwrap().into_data().unwrap().bytes;
        assert!(bytes.len() <= most, "{} after {}", bytes.len(), read.len());
        most = (2 * most).min(PIECE);
        left -= bytes.len();
        assert_eq!(body.size_hint().exact(), Some(left as u64));
        assert_eq!(body.is_end_stream(), left == 0);
        read.extend_from_slice(&bytes);
    }
    assert_eq!(read, whole);
}

#[tokio::test]
async fn a_counted_answer_is_unread_until_its_last_piece_is_dropped() {
    for (bytes, pieces) in [(0, 1), (10, 1), (10 * FIRST_PIECE, 4)] {
        let all = Arc::<ConnectionMemory>::default();
        let unread = all.count(&Connection::for_test(true), FIRST_PIECE);
        let mut body = AnswerBody::new(Body::from(vec![b' '; bytes]), None, None, unread, FIRST_PIECE);
        let mut frames = Vec::new();
        while !body.is_end_stream() {
            frames.push(body.frame().await.unwrap().unwrap());
        }
        drop(body);
        assert_eq!((frames.len(), all.bytes()), (pieces, FIRST_PIECE));
        drop(frames.pop());
        assert_eq!(all.bytes(), 0);
    }
}

#[tokio::test]
async fn a_grant_is_left_to_the_socket_with_the_last_byte_of_its_answer() {
    let locks = Locks::start().await;
    for bytes in [1, LAST_PIECE_OF_GRANT, LAST_PIECE_OF_GRANT + 1, FIRST_PIECE, 10 * FIRST_PIECE] {
        let connection = Connection::for_test(true);
        let grant = UnbufferedGrant::new(locks.grant("k").await, Arc::clone(&connection));
        let mut body = AnswerBody::new(Body::from(vec![b' '; bytes]), None, Some(grant), None, FIRST_PIECE);
        let mut pieces = Vec::new();
        while !body.is_end_stream() {
            pieces.push(body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        drop(body);
        let mut last = pieces.pop().unwrap();
        for mut piece in pieces {
            piece.advance(piece.remaining());
        }
        assert!(last.remaining() <= LAST_PIECE_OF_GRANT);
        last.advance(last.remaining() - 1);
        assert!(!connection.unconfirmed().exist());
        last.advance(1);
        assert!(connection.unconfirmed().exist());
        connection.unconfirmed().ended();
        assert!(locks.is_free("k", true).await, "nothing was written");
    }
}

#[tokio::test]
async fn a_grant_is_given_back_if_its_last_piece_is_dropped_before() {
    let locks = Locks::start().await;
    let connection = Connection::for_test(true);
    let grant = UnbufferedGrant::new(locks.grant("k").await, Arc::clone(&connection));
    let mut body = AnswerBody::new(Body::from("grant"), None, Some(grant), None, FIRST_PIECE);
    let mut last = body.frame().await.unwrap().unwrap().into_data().unwrap();
    last.advance(1);
    drop((body, last));
    assert!(!connection.unconfirmed().exist() && locks.is_free("k", true).await);
}
