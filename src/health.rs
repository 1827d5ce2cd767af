//! `db-locks health`: asks a service whether it is ready, for health checks of containers.

use std::{fmt, process::ExitCode, str::FromStr, time::Duration};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, Uri, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{
    command::{UNAVAILABLE, USAGE},
    failure::Failure,
    health_tls,
    listen::ListenAddress,
    printable::printable,
};

/// The time limit for an answer, shorter than the usual timeout of health checks.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of an answer that are shown.
const MOST_SHOWN: usize = 4_096;

/// The address of a service.
#[derive(Debug, Clone)]
pub(crate) struct ServiceUrl {
    /// Whether it uses TLS.
    is_tls: bool,
    /// Host and port, without user and password.
    authority: String,
    /// The prefix of the service's paths, without a slash at the end.
    prefix: String,
}

impl FromStr for ServiceUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.trim().parse().map_err(|_| "it is not a URL such as http://127.0.0.1:8080")?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("the URL has to begin with http:// or https://"),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("the URL has no host")?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }));
        Ok(Self { is_tls, authority, prefix: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

/// Asks the services in turn until one is ready. Without URLs it asks the service that listens on this machine.
pub(crate) async fn health(urls: &[String], listen: &[ListenAddress], speaks_tls: bool) -> ExitCode {
    let scheme = if speaks_tls { "https" } else { "http" };
    let first = listen.first().filter(|_| urls.is_empty());
    let here = first.map(|address| format!("{scheme}://{}", address.authority()));
    for text in urls.iter().chain(&here) {
        let url = match text.parse::<ServiceUrl>() {
            Ok(url) => url,
            Err(reason) => {
                // Do not show the URL, which may hold a password.
                say(&format!("a URL of DB_LOCKS_URL cannot be used: {reason}"));
                return ExitCode::from(USAGE);
            }
        };
        let cause: Failure = match tokio::time::timeout(TIMEOUT, ask(&url)).await {
            Ok(Ok((StatusCode::OK, _))) => return ExitCode::SUCCESS,
            Ok(Ok((status, body))) => format!("{status}: {}", body.trim()).into(),
            Ok(Err(error)) => error,
            Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()).into(),
        };
        say(&format!("{url} is not ready: {cause}"));
    }
    ExitCode::from(UNAVAILABLE)
}

/// Prints a line for people and for the log of the container's health checks.
fn say(line: &str) {
    use std::io::Write;
    // If the output is closed, only the exit code matters.
    let _ = writeln!(std::io::stderr(), "{}", printable(line));
}

/// Requests `/ready`. Returns the status and the body of the answer.
async fn ask(url: &ServiceUrl) -> Result<(StatusCode, String), Failure> {
    let stream = TcpStream::connect(&url.authority).await?;
    if !url.is_tls {
        return ask_over(stream, url).await;
    }
    // The certificate is not verified, so any server name will do.
    let name = ServerName::try_from("localhost")?;
    let stream = health_tls::connector()?.connect(name, stream).await?;
    ask_over(stream, url).await
}

async fn ask_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &ServiceUrl,
) -> Result<(StatusCode, String), Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(format!("{}/ready", url.prefix))
        .header(header::HOST, &url.authority)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_SHOWN).collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::select! {
        answer = answer => answer,
        // The connection's error says more than the error of the failed request.
        Err(error) = connection => Err(error.into()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_user_and_password() {
        let shown = |text: &str| text.parse::<ServiceUrl>().unwrap().to_string();
        assert_eq!(shown("http://user:secret@host:81/locks/"), "http://host:81/locks");
        assert_eq!(shown("http://[::1]"), "http://[::1]:80");
        assert_eq!(shown("https://host"), "https://host:443");
        for refused in ["host:8080", "http://", "postgres://h/d", "http://a b"] {
            assert!(refused.parse::<ServiceUrl>().is_err(), "{refused}");
        }
    }
}
