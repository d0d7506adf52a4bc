//! From a base URL to where its session is.

use url::Url;

use crate::native::error::Error;

/// Where a session of a gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// The WebSocket's URL.
    pub(super) url: String,
    /// The host to connect to.
    pub(super) host: String,
    /// Its port.
    pub(super) port: u16,
}

/// The session's address at a base URL.
pub(super) fn session_url(base: &str) -> Result<Address, Error> {
    let wrong = |why: &str| Error::Address { address: base.to_owned(), why: why.to_owned() };
    let mut url = Url::parse(base.trim()).map_err(|e| wrong(&e.to_string()))?;
    match url.scheme() {
        "http" => {}
        "https" => return Err(wrong("TLS is not there yet; use http")),
        _ => return Err(wrong("it does not begin with http://")),
    }
    let port = url.port_or_known_default().ok_or_else(|| wrong("it names no port"))?;
    let host = url.host_str().ok_or_else(|| wrong("it names no host"))?.to_owned();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let path = format!("{}/session", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.set_query(None);
    url.set_fragment(None);
    url.set_scheme("ws").map_err(|()| wrong("it is not a base URL"))?;
    Ok(Address { url: url.into(), host, port })
}

#[cfg(test)]
mod tests {
    use super::session_url;

    #[test]
    fn a_base_url_leads_to_its_session() {
        for (base, url, host, port) in [
            ("http://127.0.0.1:8088", "ws://127.0.0.1:8088/session", "127.0.0.1", 8088),
            ("http://gw.plant/hmi/", "ws://gw.plant/hmi/session", "gw.plant", 80),
            ("http://[::1]:8088/", "ws://[::1]:8088/session", "::1", 8088),
        ] {
            let address = session_url(base).unwrap();
            assert_eq!((address.url.as_str(), address.host.as_str()), (url, host));
            assert_eq!(address.port, port);
        }
        for base in ["", "8088", "ftp://a", "https://a", "http://"] {
            assert!(session_url(base).is_err(), "{base}");
        }
    }
}
