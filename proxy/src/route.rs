//! Which requests go where, and which go nowhere.
//!
//! The link between the nodes, what administrators do and what monitoring reads never pass: who
//! reaches the proxy is not thereby inside the plant's network.

use http::header::{CONNECTION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, Method, Request, StatusCode};
use tandem_protocol::wire::http::{API, is_admin};
use tandem_protocol::wire::session::SUBPROTOCOL;

use crate::headers;

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// To the active node.
    Forward,
    /// To the active node, whichever that is at the time: a session's socket.
    Session,
    /// To the active node, until it is another: any other WebSocket.
    Bridge,
    /// To nobody: what the proxy knows of the pair.
    Health,
    /// To nobody.
    Refused {
        /// The answer.
        status: StatusCode,
        /// For programs.
        word: &'static str,
        /// For people.
        sentence: &'static str,
    },
}

const HIDDEN: Route = Route::Refused {
    status: StatusCode::NOT_FOUND,
    word: "not_found",
    sentence: "There is nothing here.",
};
const ADMIN: Route = Route::Refused {
    status: StatusCode::FORBIDDEN,
    word: "admin_only_at_a_node",
    sentence: "Administration does not pass the proxy: ask a node itself.",
};
const METHOD: Route = Route::Refused {
    status: StatusCode::METHOD_NOT_ALLOWED,
    word: "method_not_allowed",
    sentence: "This method does not pass the proxy.",
};
const NO_HOST: Route = Route::Refused {
    status: StatusCode::BAD_REQUEST,
    word: "bad_host",
    sentence: "A request names one host (RFC 9112, 3.2).",
};

/// Decides.
pub(crate) fn route<B>(request: &Request<B>) -> Route {
    let method = request.method();
    if *method == Method::CONNECT || *method == Method::TRACE {
        return METHOD;
    }
    if !headers::names_one_host(request) {
        return NO_HOST;
    }
    let path = plain(request.uri().path());
    if let Some(refused) = closed(method, &path) {
        return refused;
    }
    if path == "/proxy/health" {
        return Route::Health;
    }
    if !wants_websocket(request) {
        return Route::Forward;
    }
    let session = path == "/session" && offers(request.headers(), SUBPROTOCOL);
    if session { Route::Session } else { Route::Bridge }
}

fn closed(method: &Method, path: &str) -> Option<Route> {
    let under = |base: &str| path == base || path.starts_with(&format!("{base}/"));
    if under("/gateway-network") || under("/metrics") {
        return Some(HIDDEN);
    }
    let redundancy = "/data/api/v1/redundancy";
    if path.strip_prefix(API).is_some_and(is_admin) {
        return Some(ADMIN);
    }
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    (under(&format!("{redundancy}/config")) && !reads).then_some(ADMIN)
}

/// The path as any node may read it: decoded, without empty and dotted parts, in lower case.
fn plain(path: &str) -> String {
    let decoded = decode(path);
    let mut parts: Vec<&str> = Vec::new();
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/")).to_ascii_lowercase()
}

fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            (other, _) => {
                decoded.push(other);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn wants_websocket<B>(request: &Request<B>) -> bool {
    request.method() == Method::GET
        && lists(request.headers(), CONNECTION, "upgrade")
        && lists(request.headers(), UPGRADE, "websocket")
}

fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    lists(headers, SEC_WEBSOCKET_PROTOCOL, protocol)
}

fn lists(headers: &HeaderMap, name: http::HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};

    use super::{Route, route};

    fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(path).header("host", "plant");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn status(method: &str, path: &str) -> Option<StatusCode> {
        match route(&request(method, path, &[])) {
            Route::Refused { status, .. } => Some(status),
            Route::Forward => None,
            other => panic!("{method} {path}: {other:?}"),
        }
    }

    #[test]
    fn links_metrics_and_administration_do_not_pass() {
        let (hidden, forbidden) = (Some(StatusCode::NOT_FOUND), Some(StatusCode::FORBIDDEN));
        for (method, path, expected) in [
            ("GET", "/gateway-network", hidden),
            ("GET", "/%67ateway-network?x=1", hidden),
            ("GET", "//gateway-network/", hidden),
            ("GET", "/p/../Gateway-Network", hidden),
            ("GET", "/metrics", hidden),
            ("GET", "/metrics-of-mine", None),
            ("POST", "/data/api/v1/redundancy/gwaction/failover", forbidden),
            ("POST", "/data/api/v1/./redundancy%2Fgwaction/resync", forbidden),
            ("GET", "/data/api/v1/resources/tags", forbidden),
            ("GET", "/data/api/v1/archive/config-1.cbor", forbidden),
            ("POST", "/data/api/v1/redundancy/adopt", forbidden),
            ("PUT", "/data/api/v1/redundancy/logs/levels", forbidden),
            ("GET", "/data/api/v1/redundancy/logs", None),
            ("PUT", "/data/api/v1/redundancy/config", forbidden),
            ("GET", "/data/api/v1/redundancy/config", None),
            ("GET", "/data/api/v1/redundancy", None),
            ("POST", "/data/api/v1/tags/Plant/Setpoint", None),
            ("TRACE", "/", Some(StatusCode::METHOD_NOT_ALLOWED)),
        ] {
            assert_eq!(status(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn sockets_are_known_by_their_upgrade() {
        let upgrade = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        let other = request("GET", "/live", &upgrade);
        assert_eq!(route(&other), Route::Bridge);
        let protocol = [upgrade[0], upgrade[1], ("sec-websocket-protocol", "x, tandem.session.v1")];
        assert_eq!(route(&request("GET", "/session", &protocol)), Route::Session);
        assert_eq!(route(&request("GET", "/session", &upgrade)), Route::Bridge);
        assert_eq!(route(&request("GET", "/session", &[("upgrade", "websocket")])), Route::Forward);
        let h2c = [("connection", "Upgrade"), ("upgrade", "h2c")];
        assert_eq!(route(&request("GET", "/", &h2c)), Route::Forward);
    }
}
