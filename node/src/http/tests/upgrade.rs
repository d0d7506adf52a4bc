//! What leaves HTTP: sessions and the pair's link.

use std::net::SocketAddr;

use tandem_protocol::node::Level;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Node, WAIT};
use crate::event::{LinkWhat, Purpose};
use crate::http::Limits;

const WEBSOCKET: &str = "connection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-protocol: x, tandem.session.v1\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn upgrade(address: SocketAddr, path: &str, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = format!("GET {path} HTTP/1.1\r\nhost: gw:8088\r\n{headers}\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(WAIT, stream.read_u8()).await.unwrap().unwrap());
    }
    (stream, String::from_utf8(head).unwrap().to_ascii_lowercase())
}

#[tokio::test]
async fn a_session_is_handed_over_and_other_sites_are_not() {
    let node = Node::start(Level::Cold, Limits::default()).await;
    let (_, head) = upgrade(node.address.0, "/session", WEBSOCKET).await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    assert!(head.contains("sec-websocket-protocol: tandem.session.v1"), "{head}");
    for (origin, code) in
        [("http://gw:8088", 101), ("http://10.0.0.6:8088", 101), ("http://x", 403)]
    {
        let (_, head) =
            upgrade(node.address.0, "/session", &format!("{WEBSOCKET}origin: {origin}\r\n")).await;
        assert!(head.starts_with(&format!("http/1.1 {code} ")), "{origin}: {head}");
    }
}

#[tokio::test]
async fn the_link_gets_in_when_requests_have_no_slot_left() {
    let mut node = Node::start(Level::Cold, Limits { requests: 1, ..Limits::default() }).await;
    let mut idle = TcpStream::connect(node.address.0).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    idle.read_u8().await.unwrap();
    let got = node.get("/").await;
    assert!(got.code == 503 && got.json()["error"] == "busy", "{got:?}");
    // What the peer and balancers judge this node by needs no slot.
    let got = node.get("/health/active").await;
    assert!(got.code == 503 && got.json()["node"] == "a", "{got:?}");
    for path in ["/health/live", "/health/ready", "/system/gwinfo", "/StatusPing"] {
        assert_eq!(node.get(path).await.code, 200, "{path}");
    }

    let headers = "connection: upgrade\r\nupgrade: tandem-peer/1\r\n";
    let (_stream, head) = upgrade(node.address.0, "/gateway-network", headers).await;
    assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: tandem-peer/1"), "{head}");
    let event = timeout(WAIT, node.links.recv()).await.unwrap().unwrap();
    let LinkWhat::Opened(opened) = event.what else { panic!("{event:?}") };
    assert!(matches!(opened.purpose, Purpose::Control(_)));
    assert!(node.driver.items(tandem_protocol::item::Kind::Kept).is_empty());
}
