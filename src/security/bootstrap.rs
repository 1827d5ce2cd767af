//! The file with the secret of the first administrator.

use crate::failure::Failure;

/// The minimum length of the secret, in characters.
const LEAST_CHARS: usize = 32;

/// Reads the secret from the file, without surrounding white space.
pub(super) fn secret(contents: &[Vec<u8>]) -> Result<&str, Failure> {
    let [content] = contents else { return Err("it is one file".into()) };
    let secret = std::str::from_utf8(content).map_err(|_| "it is not UTF-8")?.trim();
    if secret.chars().count() < LEAST_CHARS {
        return Err(format!("a secret has at least {LEAST_CHARS} characters").into());
    }
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a secret consists of visible ASCII characters, without spaces within".into());
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::secret;

    #[test]
    fn a_secret_is_long_and_its_white_space_does_not_count() {
        let read = |text: &str| secret(&[text.as_bytes().to_vec()]).map(str::to_owned).ok();
        let long = "x".repeat(32);
        assert_eq!(read(&format!(" {long}\n")), Some(long.clone()));
        for bad in ["", "x", &long[1..], &format!("{long} {long}"), &format!("{long}é")] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
