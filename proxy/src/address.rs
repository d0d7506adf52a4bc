//! Where a node is, and a connection to it.

use std::io;
use std::net::SocketAddr;

use http::HeaderValue;
use tokio::net::TcpStream;
use url::Url;

use crate::limits::{CONNECT_WAIT, UNACKED_MAX};

/// A node's base address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    authority: String,
}

impl Address {
    /// Reads a base URL such as `http://127.0.0.1:8088`.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Address, String> {
        let wrong = |why: &str| {
            format!("\"{text}\" is not a base URL such as http://127.0.0.1:8088: {why}")
        };
        let url = Url::parse(text).map_err(|e| wrong(&e.to_string()))?;
        if url.scheme() != "http" {
            return Err(wrong("the scheme must be http"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it must end after the port"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it must not hold a user"));
        }
        let shown = url.host_str().ok_or_else(|| wrong("it has no host"))?;
        let host = shown.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        if port == 0 {
            return Err(wrong("the port must not be 0"));
        }
        let authority = format!("{shown}:{port}");
        HeaderValue::from_str(&authority).map_err(|e| wrong(&e.to_string()))?;
        Ok(Address { host, port, authority })
    }

    /// `host:port`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Connects, within [`CONNECT_WAIT`].
    ///
    /// # Errors
    /// The last address's error, or that it took too long.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "connecting takes too long");
        tokio::time::timeout(CONNECT_WAIT, self.connect_to_any()).await.map_err(|_| late())?
    }

    async fn connect_to_any(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for at in self.resolve().await? {
            match TcpStream::connect(at).await {
                Ok(stream) => return prepare(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        // A literal needs no thread for its look-up.
        if let Ok(ip) = self.host.parse() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        Ok(tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect())
    }
}

fn prepare(stream: TcpStream) -> io::Result<TcpStream> {
    // A port in the ephemeral range without a listener can connect to itself after many dials.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connected to itself"));
    }
    stream.set_nodelay(true)?;
    let unacked_ms = u32::try_from(UNACKED_MAX.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(&stream, unacked_ms)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn only_a_base_url_is_an_address() {
        for (text, authority) in [
            ("http://127.0.0.1:8088", Some("127.0.0.1:8088")),
            ("http://plant-a/", Some("plant-a:80")),
            ("http://[::1]:8188", Some("[::1]:8188")),
            ("https://127.0.0.1:8043", None),
            ("http://127.0.0.1:8088/p", None),
            ("http://me:secret@127.0.0.1:8088", None),
            ("http://127.0.0.1:0", None),
            ("127.0.0.1:8088", None),
        ] {
            let read = Address::parse(text);
            assert_eq!(read.as_ref().ok().map(Address::authority), authority, "{text}");
        }
    }
}
