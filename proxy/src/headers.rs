//! Headers on their way through: RFC 9110 section 7.6, RFC 7239, and Tandem's own.

use std::net::{IpAddr, SocketAddr};

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    SEC_WEBSOCKET_EXTENSIONS, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version};
use tandem_protocol::wire::session::{HEADER_STANDBY, HEADER_TERM, HEADER_VIA};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// For one connection only, whether `Connection` lists them or not (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// Never removed because `Connection` lists them: without them the message is another one.
const NEVER_LISTED: [HeaderName; 2] = [HOST, CONTENT_LENGTH];

/// The name under which the proxy adds itself (RFC 9110, 7.6.3).
const VIA_SELF: HeaderValue = HeaderValue::from_static("1.1 tandem-proxy");

/// Whether a request says where it wants to go, once.
pub(crate) fn names_one_host<B>(request: &Request<B>) -> bool {
    match request.headers().get_all(HOST).iter().count() {
        0 => request.version() < Version::HTTP_11 || request.uri().authority().is_some(),
        1 => true,
        _ => false,
    }
}

/// Whether the node has done nothing with the request, and says so.
pub(crate) fn says_standby(headers: &HeaderMap) -> bool {
    headers.contains_key(HEADER_STANDBY)
}

/// Whether the request names a key under which nodes do it once.
pub(crate) fn has_key(headers: &HeaderMap) -> bool {
    headers.get(IDEMPOTENCY_KEY).is_some_and(|key| !key.is_empty())
}

/// Makes a client's request one that goes to a node.
pub(crate) fn to_node(parts: &mut Parts, client: SocketAddr, trust_forwarded: bool) {
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        parts.headers.remove(CONTENT_LENGTH);
    }
    strip_hop_by_hop(&mut parts.headers);
    for name in [HEADER_TERM, HEADER_VIA] {
        parts.headers.remove(name);
    }
    // Answered here already: hyper says 100 when the body is asked for.
    parts.headers.remove(EXPECT);
    if let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, host);
    }
    let path = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    parts.version = Version::HTTP_11;
    add_forwarded(&mut parts.headers, client.ip(), trust_forwarded);
    parts.headers.append(VIA, VIA_SELF);
}

/// Makes a request for a WebSocket one that goes to a node.
pub(crate) fn to_node_upgrade(headers: &mut HeaderMap, session: bool) {
    mark_upgrade(headers);
    headers.insert(HEADER_VIA, HeaderValue::from_static("proxy"));
    if session {
        // What compresses across messages does not survive a switch.
        headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    }
}

/// Puts back what makes a message an upgrade to WebSocket.
pub(crate) fn mark_upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Names the term that the proxy follows.
pub(crate) fn set_term(headers: &mut HeaderMap, counter: u64) {
    headers.insert(HEADER_TERM, HeaderValue::from(counter));
}

/// Makes a node's response one that goes to a client.
pub(crate) fn to_client(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    strip_hop_by_hop(headers);
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(first) = headers.get(CONNECTION) {
        // Nearly always one plain word that needs no list.
        let plain = matches!(first.as_bytes(), b"close" | b"keep-alive" | b"Upgrade" | b"upgrade");
        if !plain || headers.get_all(CONNECTION).iter().nth(1).is_some() {
            for name in listed(headers) {
                headers.remove(name);
            }
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).into_iter().filter_map(|v| v.to_str().ok());
    values
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse::<HeaderName>().ok())
        .filter(|name| !NEVER_LISTED.contains(name))
        .collect()
}

fn add_forwarded(headers: &mut HeaderMap, client: IpAddr, trust: bool) {
    if !trust {
        for name in [FORWARDED, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO] {
            headers.remove(name);
        }
    }
    let host = headers.get(HOST).cloned();
    let address = match client {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("\"[{v6}]\""),
    };
    let quoted = host.as_ref().and_then(|h| h.to_str().ok()).map(quote);
    let element = match quoted {
        Some(host) => format!("for={address};host={host};proto=http"),
        None => format!("for={address};proto=http"),
    };
    append_to_list(headers, FORWARDED, &element);
    append_to_list(headers, FORWARDED_FOR, &client.to_string());
    if let Some(host) = host
        && !headers.contains_key(FORWARDED_HOST)
    {
        headers.insert(FORWARDED_HOST, host);
    }
    if !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
}

fn append_to_list(headers: &mut HeaderMap, name: HeaderName, item: &str) {
    let before: Vec<&str> =
        headers.get_all(&name).into_iter().filter_map(|v| v.to_str().ok()).collect();
    let list = match before.as_slice() {
        [] => item.to_owned(),
        before => format!("{}, {item}", before.join(", ")),
    };
    if let Ok(value) = HeaderValue::from_str(&list) {
        headers.insert(name, value);
    }
}

/// A quoted string (RFC 9110, 5.6.4).
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Request};
    use tandem_protocol::wire::http::PROXY_NAME;

    use super::{set_term, to_client, to_node, to_node_upgrade};

    fn sent(uri: &str, headers: &[(&str, &str)], trust: bool) -> (String, HeaderMap) {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        to_node(&mut parts, "192.0.2.7:5000".parse().unwrap(), trust);
        (parts.uri.to_string(), parts.headers)
    }

    fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        headers.get(name).map(|v| v.to_str().unwrap())
    }

    #[test]
    fn what_is_for_one_connection_stays_there() {
        let (_, headers) = sent(
            "/",
            &[
                ("host", "plant"),
                ("connection", "close, X-Mine, host"),
                ("connection", "x-other"),
                ("x-mine", "1"),
                ("x-other", "1"),
                ("x-kept", "1"),
                ("keep-alive", "timeout=5"),
                ("te", "trailers"),
                ("trailer", "x"),
                ("proxy-authorization", "secret"),
                ("proxy-connection", "close"),
                ("upgrade", "h2c"),
                ("transfer-encoding", "chunked"),
                ("content-length", "3"),
                ("expect", "100-continue"),
            ],
            false,
        );
        let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        let ours = [
            "forwarded",
            "host",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
        ];
        assert_eq!(names[..5], ours[..5]);
        assert_eq!(names[5..], [ours[5], "x-kept"]);
    }

    #[test]
    fn a_client_does_not_name_terms_or_proxies() {
        let (_, mut headers) =
            sent("/", &[("host", "plant"), ("tandem-term", "99"), ("tandem-via", "me")], false);
        assert_eq!(value(&headers, "tandem-term"), None);
        assert_eq!(value(&headers, "tandem-via"), None);
        let via = value(&headers, "via").unwrap();
        assert_eq!(via.split_once(' ').map(|(_, name)| name), Some(PROXY_NAME));
        set_term(&mut headers, 7);
        assert_eq!(value(&headers, "tandem-term"), Some("7"));
    }

    #[test]
    fn the_node_learns_who_asked() {
        let told =
            [("host", "plant"), ("x-forwarded-for", "10.0.0.1"), ("forwarded", "for=10.0.0.1")];
        let (_, headers) = sent("/", &told, false);
        assert_eq!(value(&headers, "x-forwarded-for"), Some("192.0.2.7"));
        assert_eq!(value(&headers, "forwarded"), Some("for=192.0.2.7;host=\"plant\";proto=http"));
        let (_, headers) = sent("/", &told, true);
        assert_eq!(value(&headers, "x-forwarded-for"), Some("10.0.0.1, 192.0.2.7"));
        assert!(value(&headers, "forwarded").unwrap().starts_with("for=10.0.0.1, for=192.0.2.7;"));
    }

    #[test]
    fn an_absolute_target_becomes_a_path_and_a_host() {
        let (uri, headers) = sent("http://plant:8080/p/a?b=1", &[("host", "other")], false);
        assert_eq!(uri, "/p/a?b=1");
        assert_eq!(value(&headers, "host"), Some("plant:8080"));
    }

    #[test]
    fn an_upgrade_goes_on_without_extensions() {
        let told = [("host", "plant"), ("sec-websocket-extensions", "permessage-deflate")];
        let (_, mut headers) = sent("/session", &told, false);
        to_node_upgrade(&mut headers, true);
        assert_eq!(value(&headers, "sec-websocket-extensions"), None);
        assert_eq!(value(&headers, "tandem-via"), Some("proxy"));
        assert_eq!(value(&headers, "upgrade"), Some("websocket"));
        to_client(&mut headers);
        assert_eq!(value(&headers, "upgrade"), None);
    }
}
