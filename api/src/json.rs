//! Values as JSON text.

use bytes::Bytes;
use serde::Serialize;

/// Most answers fit without growing: a grant has some 450 bytes.
const USUAL_SIZE: usize = 640;

/// A value as JSON text. It ends with a newline, so that a shell's prompt begins on a line of its own.
pub(crate) fn json_bytes<T: Serialize>(value: &T) -> Result<Bytes, serde_json::Error> {
    let mut text = Vec::with_capacity(USUAL_SIZE);
    serde_json::to_writer(&mut text, value)?;
    text.push(b'\n');
    Ok(text.into())
}
