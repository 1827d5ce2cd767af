//! A record as its line.

use serde::Serialize;

use super::AuditRecord;
use crate::{
    Rfc3339,
    domain::{Key, Kind, Owner, Tenant},
};

#[derive(Serialize)]
struct Line<'a> {
    time: Rfc3339,
    event: &'static str,
    who: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fencing_token: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// Adds the line of a record to `lines`.
pub(super) fn put(lines: &mut Vec<u8>, record: &AuditRecord) {
    let origin = record.origin.as_deref();
    let line = Line {
        time: record.time.into(),
        event: record.event.name(),
        who: origin.and_then(|origin| origin.who()),
        tenant: record.tenant.as_ref().map(Tenant::as_str),
        kind: record.kind.map(|kind| match kind {
            Kind::Mutex => "lock",
            Kind::Semaphore => "semaphore",
        }),
        key: record.key.as_ref().map(Key::as_str),
        owner: record.owner.as_ref().map(Owner::as_str),
        version: record.version.map(|version| version.short().to_string()),
        fencing_token: record.fencing_token.map(|token| token.0),
        client: origin.map(|origin| origin.client.to_string()),
        request_id: origin.map(|origin| &*origin.request_id),
        status: record.status,
        reason: record.reason.as_deref(),
    };
    let begin = lines.len();
    // Texts and numbers can always be written as JSON.
    if serde_json::to_writer(&mut *lines, &line).is_ok() {
        escape_line_ends(lines, begin);
        lines.push(b'\n');
    } else {
        lines.truncate(begin);
    }
}

/// Writes as escapes what some readers take for the end of a line. JSON has such characters in texts only.
fn escape_line_ends(lines: &mut Vec<u8>, begin: usize) {
    if lines[begin..].is_ascii() {
        return;
    }
    let text = String::from_utf8_lossy(&lines[begin..]);
    let escaped =
        text.replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    lines.truncate(begin);
    lines.extend_from_slice(escaped.as_bytes());
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::{
        audit::{AuditEvent, Origin},
        domain::{Timestamp, Token, Version},
    };

    fn line(record: &AuditRecord) -> String {
        let mut lines = Vec::new();
        put(&mut lines, record);
        String::from_utf8(lines).unwrap()
    }

    /// Guards that nobody adds a record by what it names: readers split lines at more than line feeds.
    #[test]
    fn a_text_ends_no_line() {
        let mut record = AuditRecord::new(Timestamp(0), AuditEvent::Granted);
        let key = "é\u{2028}\u{2029}{\"event\":\"forced\"}";
        record.key = Some(Key::new(key).unwrap());
        record.owner = Some(Owner::new("\u{85}").unwrap());
        let text = line(&record);
        assert!(!text.contains(['\u{85}', '\u{2028}', '\u{2029}']) && text.contains('é'), "{text}");
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&read["key"], &read["owner"]), (&json!(key), &json!("\u{85}")));
    }

    #[test]
    fn a_record_is_one_line_with_what_applies() {
        let mut record = AuditRecord::new(Timestamp(1_795_000_000_123), AuditEvent::Granted);
        assert_eq!(
            line(&record),
            "{\"time\":\"2026-11-18T11:06:40.123Z\",\"event\":\"granted\",\"who\":null}\n"
        );
        let origin = Origin::new([192, 0, 2, 7].into(), "r-1".into());
        origin.identify("token:ops".into());
        record.origin = Some(Arc::new(origin));
        record.tenant = Some(Tenant::new("t").unwrap());
        record.kind = Some(Kind::Mutex);
        record.key = Some(Key::new("de\"ploy").unwrap());
        record.owner = Some(Owner::new("a\nb").unwrap());
        record.version = Some(Version(Uuid::from_u128(0x0199_a3c0_5f0e_4c1d_9a57_3f1f_6a1c_7d42)));
        record.fencing_token = Some(Token(17));
        record.status = Some(200);
        let text = line(&record);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(!text.contains("6a1c7d42") && !text.contains("5f0e"), "a whole version is a right: {text}");
        let expected = json!({
            "time": "2026-11-18T11:06:40.123Z", "event": "granted", "who": "token:ops", "tenant": "t", "kind": "lock",
            "key": "de\"ploy", "owner": "a\nb", "version": "0199a3c0", "fencing_token": 17, "client": "192.0.2.7",
            "request_id": "r-1", "status": 200,
        });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    }
}
