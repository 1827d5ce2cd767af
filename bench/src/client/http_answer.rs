//! Reads an HTTP/1.1 answer out of what has arrived so far.

use memchr::memmem;

use super::Failure;

/// The reason why an answer is not understood.
const HTTP: &str = "HTTP";

/// The status of a complete answer, whose body is put into `body`; `None` if more bytes have to arrive.
pub(super) fn parse(input: &[u8], body: &mut Vec<u8>) -> Result<Option<u16>, Failure> {
    let Some(end) = memmem::find(input, b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, rest) = (&input[..end], &input[end + 4..]);
    let status = status(head).ok_or(Failure::Malformed(HTTP))?;
    body.clear();
    let complete = match length(head)? {
        Length::Known(length) if rest.len() >= length => {
            body.extend_from_slice(&rest[..length]);
            true
        }
        Length::Known(_) => false,
        Length::Chunked => unchunk(rest, body)?,
    };
    Ok(complete.then_some(status))
}

/// The status in the first line, as in `HTTP/1.1 200 OK`.
fn status(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The length of a body.
enum Length {
    /// This number of bytes. An answer without a length has no body: answers that end with the connection are not used
    /// here.
    Known(usize),
    /// The length of the chunks.
    Chunked,
}

/// The length of the body by the headers.
fn length(head: &[u8]) -> Result<Length, Failure> {
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        let Some(colon) = memchr::memchr(b':', line) else {
            return Err(Failure::Malformed(HTTP));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            return digits.map(Length::Known).ok_or(Failure::Malformed(HTTP));
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") && value.eq_ignore_ascii_case(b"chunked") {
            return Ok(Length::Chunked);
        }
    }
    Ok(Length::Known(0))
}

/// Joins the chunks; false while the last one has not arrived. Trailers are not expected, and not supported.
fn unchunk(mut rest: &[u8], body: &mut Vec<u8>) -> Result<bool, Failure> {
    loop {
        let Some(line) = memmem::find(rest, b"\r\n") else {
            return Ok(false);
        };
        let digits = rest[..line].split(|&byte| byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok())
            .ok_or(Failure::Malformed(HTTP))?;
        let chunk = &rest[line + 2..];
        if chunk.len() < size + 2 {
            return Ok(false);
        }
        if &chunk[size..size + 2] != b"\r\n" {
            return Err(Failure::Malformed(HTTP));
        }
        if size == 0 {
            return Ok(true);
        }
        body.extend_from_slice(&chunk[..size]);
        rest = &chunk[size + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    /// The parsed answer, if it is complete.
    fn whole(input: &[u8]) -> Option<(u16, String)> {
        let mut body = Vec::new();
        let status = parse(input, &mut body).ok()??;
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// No prefix of an answer counts as complete.
    fn nothing_before_its_end(input: &[u8]) {
        for end in 0..input.len() {
            let mut body = Vec::new();
            let parsed = parse(&input[..end], &mut body);
            assert!(matches!(parsed, Ok(None)), "{end} bytes of {} were enough", input.len());
        }
    }

    #[test]
    fn a_body_of_known_length() {
        let answer = b"HTTP/1.1 423 Locked\r\ncontent-length: 4\r\nretry-after: 1\r\n\r\nbusy";
        assert_eq!(whole(answer), Some((423, "busy".into())));
        nothing_before_its_end(answer);
    }

    #[test]
    fn a_body_in_chunks() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(whole(answer), Some((200, "abc0123456789".into())));
        nothing_before_its_end(answer);
    }

    #[test]
    fn no_body() {
        let answer = b"HTTP/1.1 204 No Content\r\nx-request-id: 1\r\n\r\n";
        assert_eq!(whole(answer), Some((204, String::new())));
        nothing_before_its_end(answer);
    }

    #[test]
    fn what_is_no_http_is_refused() {
        let mut body = Vec::new();
        assert!(parse(b"-ERR unknown\r\n\r\n", &mut body).is_err());
        assert!(
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", &mut body).is_err()
        );
    }
}
