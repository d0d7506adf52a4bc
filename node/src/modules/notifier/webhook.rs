//! One POST to a webhook, with a deadline.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::modules::Context;

/// A receiver on a healthy network answers within a moment.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// A receiver may store what it hears before it answers.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How a POST went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    /// The receiver has confirmed it.
    Confirmed,
    /// Surely not: nothing was sent.
    Unsent(String),
    /// The receiver may have it.
    Unconfirmed(String),
}

/// Posts, if the permit stands in the moment of sending.
pub(super) async fn post(
    context: &Context,
    url: &str,
    id: &str,
    body: impl FnOnce(&crate::permit::ActiveTerm) -> Vec<u8>,
) -> Sent {
    let (authority, path) = match place(url) {
        Ok(place) => place,
        Err(reason) => return Sent::Unsent(reason),
    };
    let connected = match timeout(CONNECT_WAIT, connect(&authority)).await {
        Ok(connected) => connected,
        Err(_) => Err(format!("no connection within {CONNECT_WAIT:?}")),
    };
    let (mut connection, _driving) = match connected {
        Ok(connected) => connected,
        Err(reason) => return Sent::Unsent(reason),
    };
    let Some(active) = context.allows() else {
        return Sent::Unsent("the permit has run out".to_owned());
    };
    let request = Request::post(path)
        .header(HOST, authority)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header("idempotency-key", percent_encoded(id))
        .body(Full::new(Bytes::from(body(&active))));
    let request = match request {
        Ok(request) => request,
        Err(e) => return Sent::Unsent(e.to_string()),
    };
    match timeout(ANSWER_WAIT, connection.send_request(request)).await {
        Ok(Ok(answer)) if answer.status().is_success() => Sent::Confirmed,
        Ok(Ok(answer)) => Sent::Unconfirmed(format!("it answers {}", answer.status())),
        Ok(Err(e)) => Sent::Unconfirmed(e.to_string()),
        Err(_) => Sent::Unconfirmed(format!("no answer within {ANSWER_WAIT:?}")),
    }
}

fn percent_encoded(id: &str) -> String {
    percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// `host:port` and path of a webhook's URL.
fn place(url: &str) -> Result<(String, String), String> {
    let uri: Uri = url.parse().map_err(|e| format!("{url} is not a URL: {e}"))?;
    let host = uri.host().ok_or_else(|| format!("{url} names no host"))?;
    let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok((authority, path.to_owned()))
}

/// Ends the connection's task when the exchange is over or given up.
struct Driving(AbortHandle);

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn connect(authority: &str) -> Result<(SendRequest<Full<Bytes>>, Driving), String> {
    let stream = TcpStream::connect(authority).await.map_err(|e| e.to_string())?;
    let (connection, driving) = handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let driving = tokio::spawn(async move {
        // How it ended is told to the request that was under way.
        let _ = driving.await;
    });
    Ok((connection, Driving(driving.abort_handle())))
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_url_leads_to_a_place() {
        let rows = [
            ("http://desk", Some(("desk:80", "/"))),
            ("http://desk:8080/a?b=c", Some(("desk:8080", "/a?b=c"))),
            ("http://[::1]:8080/a", Some(("[::1]:8080", "/a"))),
            ("/a", None),
            ("http://de sk/", None),
        ];
        for (url, expected) in rows {
            let expected = expected.map(|(host, path)| (host.to_owned(), path.to_owned()));
            assert_eq!(place(url).ok(), expected, "{url}");
        }
    }
}
