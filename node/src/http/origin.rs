//! Whose pages may use this gateway.
//!
//! A browser names the site of the page that asks; a page of another site must not operate a
//! plant. Allowed are pages of either node of the pair (a page moves between them), of the address
//! under which this node was asked, and of the one under which a Tandem proxy was asked. Programs
//! that are no browsers name no site.
//!
//! The address that was asked counts only if it is an IP address, a name without a dot, or
//! announced (`public_address`): any other name may be that of a hostile page, whose owner has let
//! it lead to this node (DNS rebinding). What a proxy says counts because no page can look like
//! one: scripts cannot set `Via`.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use http::header::{FORWARDED, HOST, ORIGIN, VIA};
use http::uri::Authority;
use http::{HeaderMap, Uri};
use tandem_protocol::wire::http::PROXY_NAME;
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
    match judge(origin, headers, status.addresses.iter().map(|a| a.url.as_str())) {
        Verdict::May => Ok(()),
        Verdict::Other => Err(Failure::origin(origin)),
        Verdict::Unknown => {
            let told = state.told_of_origin.swap(true, Ordering::Relaxed);
            if !told {
                // Whoever wonders at a page without values finds it; a flood of requests does not
                // fill the log.
                tracing::info!(origin, "pages are refused: set public_address to this name");
            }
            Err(Failure::unknown_name(origin))
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    May,
    /// Another site's page.
    Other,
    /// A page of the name that was asked, which this node does not know.
    Unknown,
}

fn judge<'a>(
    origin: &str,
    headers: &HeaderMap,
    pair: impl Iterator<Item = &'a str> + Clone,
) -> Verdict {
    let Some(site) = Site::of_url(origin) else { return Verdict::Other };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut announced = pair.filter_map(Site::of_url);
    if announced.clone().any(|node| node == site) {
        return Verdict::May;
    }
    let forwarded = text("x-forwarded-host").or_else(|| text(FORWARDED.as_str()).and_then(host_of));
    if passed_a_proxy(headers) && forwarded.is_some_and(|host| site.is_at(host)) {
        return Verdict::May;
    }
    if !text(HOST.as_str()).is_some_and(|host| site.is_at(host)) {
        return Verdict::Other;
    }
    let known = is_local(&site.host) || announced.any(|node| node.host == site.host);
    if known { Verdict::May } else { Verdict::Unknown }
}

/// Whether a Tandem proxy has named itself.
fn passed_a_proxy(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(VIA).into_iter().filter_map(|list| list.to_str().ok());
    let mut names = lists.flat_map(|list| list.split(',')).map(|one| one.split_whitespace().nth(1));
    names.any(|name| name == Some(PROXY_NAME))
}

/// Whether nobody far away can let a host of this name lead here: an address, or a name that only
/// this network gives out.
fn is_local(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok() || !host.contains('.')
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
        let Ok(authority) = host.parse::<Authority>() else { return false };
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

    use super::Verdict::{May, Other, Unknown};
    use super::{Verdict, judge};

    const PAIR: [&str; 2] = ["http://10.0.0.5:8088", "https://b.plant"];

    fn judged(origin: &str, headers: &[(&'static str, &'static str)]) -> Verdict {
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        judge(origin, &map, PAIR.into_iter())
    }

    #[test]
    fn pages_of_the_pair_may_and_others_may_not() {
        for (origin, host, expected) in [
            ("http://gw:8088", "gw:8088", May),
            ("http://GW", "gw:80", May),
            ("https://gw", "gw", May),
            ("http://gw:8089", "gw:8088", Other),
            ("http://10.0.0.5:8088", "b.plant", May),
            ("https://b.plant", "10.0.0.5:8088", May),
            ("http://b.plant:8088", "b.plant:8088", May),
            ("http://localhost:8088", "127.0.0.1:8088", May),
            ("http://192.168.1.5:8088", "192.168.1.5:8088", May),
            ("http://[fd00::1]:8088", "[fd00::1]:8088", May),
            ("http://evil.example", "gw", Other),
            // A name that its owner has let lead here.
            ("http://evil.example:8088", "evil.example:8088", Unknown),
            ("http://127.0.0.1.evil.example", "127.0.0.1.evil.example", Unknown),
            ("null", "gw", Other),
            ("file://x", "x", Other),
        ] {
            assert_eq!(judged(origin, &[("host", host)]), expected, "{origin} at {host}");
        }
    }

    #[test]
    fn a_proxys_address_is_what_the_proxy_says() {
        let via = ("via", "1.0 other, 1.1 tandem-proxy");
        let (host, asked) = (("host", "10.0.0.5:8088"), ("x-forwarded-host", "hmi.plant"));
        for (origin, headers, expected) in [
            ("https://hmi.plant", vec![host, via, asked], May),
            ("https://evil.example", vec![host, via, asked], Other),
            (
                "https://hmi.plant",
                vec![host, via, ("forwarded", "for=1.2.3.4;Host=\"hmi.plant\"")],
                May,
            ),
            // Whoever does not say how it was asked has looked at nothing.
            ("https://evil.example", vec![host, via], Other),
            // What a script of a page could set.
            ("https://hmi.plant", vec![host, asked], Other),
            ("https://hmi.plant", vec![host, asked, ("tandem-via", "proxy")], Other),
        ] {
            assert_eq!(judged(origin, &headers), expected, "{origin} {headers:?}");
        }
    }
}
