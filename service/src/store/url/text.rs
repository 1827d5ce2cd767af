//! The text of a URL: its parameters, its escapes, and what of it may be shown.

/// The parameters of a query, as they are written.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// A part of a URL without its escapes. One that is malformed stays as it is: this is for people.
pub(super) fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The name of a parameter, as long as it looks like one.
pub(super) fn printable(name: &str) -> String {
    let is_name =
        name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_name { name.to_owned() } else { "(not shown)".to_owned() }
}
