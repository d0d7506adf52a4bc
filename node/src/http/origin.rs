//! Whose pages may use this gateway.
//!
//! A browser names the site of the page that asks; a page of another site must not operate a
//! plant. Allowed are pages of this address, of either node of the pair (a page moves between
//! them), and of the address under which a Tandem proxy was asked: only a proxy can present
//! `Tandem-Via`, a page cannot set it on a WebSocket. Programs that are no browsers name no site.

use http::header::{FORWARDED, HOST, ORIGIN};
use http::{HeaderMap, Uri};
use tandem_protocol::wire::session::HEADER_VIA;

use super::State;
use super::reply::Failure;

/// Whether the request says that it came through a proxy of this product.
pub(super) fn via_proxy(headers: &HeaderMap) -> bool {
    headers.get(HEADER_VIA).is_some_and(|value| value.as_bytes() == b"proxy")
}

/// # Errors
/// The page's site is none of those that may.
pub(super) fn check(state: &State, headers: &HeaderMap) -> Result<(), Failure> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("?");
    let status = state.rooms.driver.status();
    if allowed(origin, headers, status.addresses.iter().map(|a| a.url.as_str())) {
        return Ok(());
    }
    Err(Failure::origin(origin))
}

fn allowed<'a>(origin: &str, headers: &HeaderMap, pair: impl Iterator<Item = &'a str>) -> bool {
    let Some(site) = Site::of_url(origin) else { return false };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let asked = text(HOST.as_str());
    if asked.is_some_and(|host| site.is_at(host)) {
        return true;
    }
    if pair.filter_map(Site::of_url).any(|node| node == site) {
        return true;
    }
    if !via_proxy(headers) {
        return false;
    }
    let forwarded = text("x-forwarded-host").or_else(|| text(FORWARDED.as_str()).and_then(host_of));
    match forwarded {
        Some(host) => site.is_at(host),
        // A proxy that does not say how it was asked has looked at the site itself.
        None => true,
    }
}

/// `host` of the first element of `Forwarded` (RFC 7239).
fn host_of(forwarded: &str) -> Option<&str> {
    let first = forwarded.split(',').next()?;
    let pair = first.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("host").then_some(value.trim())
    });
    pair.map(|value| value.trim_matches('"'))
}

/// Host and port of a site. The names of this machine's loopback are one host: a page opened at
/// `localhost` moves to a node that calls itself `127.0.0.1`.
#[derive(Debug, PartialEq, Eq)]
struct Site {
    host: String,
    port: u16,
    default_port: u16,
}

impl Site {
    fn of_url(url: &str) -> Option<Site> {
        let uri: Uri = url.parse().ok()?;
        let default_port = match uri.scheme_str()? {
            "http" | "ws" => 80,
            "https" | "wss" => 443,
            _ => return None,
        };
        let authority = uri.authority()?;
        let port = authority.port_u16().unwrap_or(default_port);
        Some(Site { host: normal(authority.host()), port, default_port })
    }

    /// Whether a `Host` header names this site: without a port it means the site's default one.
    fn is_at(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
        normal(authority.host()) == self.host
            && authority.port_u16().unwrap_or(self.default_port) == self.port
    }
}

fn normal(host: &str) -> String {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match host.as_str() {
        "127.0.0.1" | "[::1]" => "localhost".to_owned(),
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::allowed;

    #[test]
    fn pages_of_the_pair_and_of_the_proxy_may_and_others_may_not() {
        let pair = ["http://10.0.0.5:8088", "https://b.plant"];
        for (origin, headers, expected) in [
            ("http://gw:8088", vec![("host", "gw:8088")], true),
            ("http://GW", vec![("host", "gw:80")], true),
            ("https://gw", vec![("host", "gw")], true),
            ("http://gw:8089", vec![("host", "gw:8088")], false),
            ("http://10.0.0.5:8088", vec![("host", "b.plant")], true),
            ("https://b.plant", vec![("host", "10.0.0.5:8088")], true),
            ("http://localhost:8088", vec![("host", "127.0.0.1:8088")], true),
            ("http://evil.example", vec![("host", "gw")], false),
            ("null", vec![("host", "gw")], false),
            ("file://x", vec![("host", "x")], false),
            (
                "https://hmi.plant",
                vec![
                    ("host", "10.0.0.5:8088"),
                    ("tandem-via", "proxy"),
                    ("x-forwarded-host", "hmi.plant"),
                ],
                true,
            ),
            (
                "https://evil.example",
                vec![("host", "gw"), ("tandem-via", "proxy"), ("x-forwarded-host", "hmi.plant")],
                false,
            ),
            (
                "https://hmi.plant",
                vec![
                    ("host", "gw"),
                    ("tandem-via", "proxy"),
                    ("forwarded", "for=1.2.3.4;Host=\"hmi.plant\""),
                ],
                true,
            ),
            ("https://hmi.plant", vec![("host", "gw"), ("x-forwarded-host", "hmi.plant")], false),
        ] {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_static(value))
                })
                .collect();
            assert_eq!(allowed(origin, &map, pair.into_iter()), expected, "{origin} {headers:?}");
        }
    }
}
