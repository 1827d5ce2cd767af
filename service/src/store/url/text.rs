//! The text of a URL: its parameters, its escapes, and what of it may be shown.

/// The parameters of a query, with their escapes.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Decodes the escapes in a part of a URL. A malformed part stays as it is: the result is for people to read.
pub(super) fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The name of a parameter if it looks like a name, or else a placeholder.
pub(super) fn printable(name: &str) -> String {
    let is_name =
        name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_name { name.to_owned() } else { "(not shown)".to_owned() }
}
