//! Writes a record as a line.

use serde::Serialize;

use super::{AuditRecord, Origin};
use crate::{
    Rfc3339,
    domain::{Key, Kind, Owner, ShortVersion, Tenant, Timestamp, Version},
    escape_terminal_controls,
};

/// Makes lines, one after another in the same buffer.
#[derive(Debug, Default)]
pub(super) struct LineFormatter {
    line: Vec<u8>,
    /// The time of the last record and its text: most records of a batch have the same time.
    time: Option<(Timestamp, Rfc3339)>,
}

impl LineFormatter {
    pub(super) const fn new() -> Self {
        Self { line: Vec::new(), time: None }
    }

    /// The line of a record.
    pub(super) fn make(&mut self, record: &AuditRecord<'_>) -> &[u8] {
        let time = match self.time {
            Some((at, text)) if at == record.time => text,
            _ => record.time.into(),
        };
        self.time = Some((record.time, time));
        self.line.clear();
        // Texts and numbers can always be written as JSON.
        if put_object(&mut self.line, record, time.as_str()).is_ok() {
            self.line.push(b'\n');
        } else {
            self.line.clear();
        }
        &self.line
    }
}

/// Writes an object member by member: most names and values need no search for characters to escape.
fn put_object(line: &mut Vec<u8>, record: &AuditRecord<'_>, time: &str) -> serde_json::Result<()> {
    let origin = record.origin;
    let version = record.version.map(Version::short);
    let kind = record.kind.map(|kind| match kind {
        Kind::Mutex => "lock",
        Kind::Semaphore => "semaphore",
    });
    put_plain(line, "{\"time\":\"", Some(time));
    put_plain(line, ",\"event\":\"", Some(record.event.name()));
    match origin.and_then(Origin::who) {
        Some(who) => put_text(line, ",\"who\":", Some(who))?,
        None => line.extend_from_slice(b",\"who\":null"),
    }
    put_plain(line, ",\"tenant\":\"", record.tenant.map(Tenant::as_str));
    put_plain(line, ",\"kind\":\"", kind);
    put_text(line, ",\"key\":", record.key.map(Key::as_str))?;
    put_text(line, ",\"owner\":", record.owner.map(Owner::as_str))?;
    put_plain(line, ",\"version\":\"", version.as_ref().map(ShortVersion::as_str));
    put_value(line, ",\"fencing_token\":", record.fencing_token.map(|token| token.0))?;
    put_value(line, ",\"client\":", origin.map(|origin| origin.client))?;
    put_text(line, ",\"request_id\":", origin.map(|origin| &*origin.request_id))?;
    put_value(line, ",\"status\":", record.status)?;
    put_text(line, ",\"reason\":", record.reason)?;
    put_value(line, ",\"left_out\":", record.left_out)?;
    line.push(b'}');
    Ok(())
}

/// Adds a member with numbers or an address, if it has a value. `name` is the text before the value.
#[inline]
fn put_value(line: &mut Vec<u8>, name: &str, value: Option<impl Serialize>) -> serde_json::Result<()> {
    let Some(value) = value else { return Ok(()) };
    line.extend_from_slice(name.as_bytes());
    serde_json::to_writer(line, &value)
}

/// Adds a text. Escapes what JSON requires, and what JSON allows but a terminal obeys, or some readers take for the end of a
/// line. Most texts have nothing to escape. To find that out for many bytes at a time takes less than to look for it byte by byte.
#[inline]
fn put_text(line: &mut Vec<u8>, name: &str, text: Option<&str>) -> serde_json::Result<()> {
    let Some(text) = text else { return Ok(()) };
    line.extend_from_slice(name.as_bytes());
    if is_plain(text) {
        line.push(b'"');
        line.extend_from_slice(text.as_bytes());
        line.push(b'"');
    } else {
        line.extend_from_slice(escape_terminal_controls(&serde_json::to_string(text)?).as_bytes());
    }
    Ok(())
}

/// Whether a text consists of ASCII that JSON does not escape.
fn is_plain(text: &str) -> bool {
    // To count them has no early end, which would look at one byte at a time. Without quotation mark and backslash.
    let plain = |byte: &u8| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~');
    text.bytes().filter(plain).count() == text.len()
}

/// Adds a text in which nothing has to be escaped: times, names of ours, digits, and tenants, whose characters are
/// restricted.
#[inline]
fn put_plain(line: &mut Vec<u8>, name: &str, text: Option<&str>) {
    let Some(text) = text else { return };
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(text.as_bytes());
    line.push(b'"');
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::{audit::AuditEvent, domain::Token};

    fn line(record: &AuditRecord<'_>) -> String {
        String::from_utf8(LineFormatter::new().make(record).to_vec()).unwrap()
    }

    /// Guards that no name in a record can add another record, since readers split lines at more than line feeds, or write to
    /// the terminal of who reads the log.
    #[test]
    fn a_text_ends_no_line_and_controls_no_terminal() {
        let mut record = AuditRecord::new(Timestamp(0), AuditEvent::Granted);
        let key = Key::new("é\u{2028}\u{2029}{\"event\":\"forced\"}").unwrap();
        let owner = Owner::new("\u{85}\u{9b}2J\u{202e}\u{7f}").unwrap();
        let origin = Origin::new([192, 0, 2, 7].into(), owner.as_str().into());
        origin.identify(owner.as_str().into());
        (record.key, record.owner) = (Some(&key), Some(&owner));
        (record.origin, record.reason) = (Some(&origin), Some(owner.as_str()));
        let text = line(&record);
        let controls = ['\u{7f}', '\u{85}', '\u{9b}', '\u{2028}', '\u{2029}', '\u{202e}'];
        assert!(!text.contains(controls) && text.contains('é'), "{text}");
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&read["key"], &read["owner"]), (&json!(key.as_str()), &json!(owner.as_str())));
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
        let (tenant, key) = (Tenant::new("t").unwrap(), Key::new("de\"ploy").unwrap());
        let owner = Owner::new("a\nb").unwrap();
        record.origin = Some(&origin);
        record.tenant = Some(&tenant);
        record.kind = Some(Kind::Mutex);
        record.key = Some(&key);
        record.owner = Some(&owner);
        record.version = Some(Version(Uuid::from_u128(0x0199_a3c0_5f0e_4c1d_9a57_3f1f_6a1c_7d42)));
        record.fencing_token = Some(Token(17));
        record.status = Some(200);
        record.left_out = Some(3);
        let text = line(&record);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(!text.contains("6a1c7d42") && !text.contains("5f0e"), "a whole version is a right: {text}");
        let expected = json!({
            "time": "2026-11-18T11:06:40.123Z", "event": "granted", "who": "token:ops", "tenant": "t", "kind": "lock",
            "key": "de\"ploy", "owner": "a\nb", "version": "0199a3c0", "fencing_token": 17, "client": "192.0.2.7",
            "request_id": "r-1", "status": 200, "left_out": 3,
        });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    }

    #[test]
    fn every_text_comes_back_as_it_was() {
        for text in [
            "a",
            "a \"b\"",
            "\\",
            "a\nb",
            "ü",
            "~ \u{7f}",
            "",
            &"x".repeat(300),
            &format!("{}\"", "x".repeat(64)),
        ] {
            let mut record = AuditRecord::new(Timestamp(0), AuditEvent::Forced);
            let origin = Origin::new([192, 0, 2, 7].into(), "r\"1".into());
            origin.identify(text.into());
            (record.reason, record.origin) = (Some(text), Some(&origin));
            let read: Value = serde_json::from_str(&line(&record)).unwrap();
            assert_eq!((&read["reason"], &read["who"]), (&json!(text), &json!(text)));
            assert_eq!((&read["request_id"], &read["client"]), (&json!("r\"1"), &json!("192.0.2.7")));
        }
    }

    #[test]
    fn a_line_has_nothing_of_the_one_before() {
        let mut maker = LineFormatter::new();
        let mut time_of = |ms| {
            let record = AuditRecord::new(Timestamp(ms), AuditEvent::Expired);
            let read: Value = serde_json::from_slice(maker.make(&record)).unwrap();
            read["time"].as_str().unwrap().to_owned()
        };
        let times = [1, 1, 2, 1].map(&mut time_of);
        assert_eq!(times.map(|time| time[20..].to_owned()), ["001Z", "001Z", "002Z", "001Z"]);
    }
}
