//! Requests that are wrong.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Node, WAIT};

#[tokio::test]
async fn bad_input_is_refused_and_the_node_goes_on() {
    let node = Node::active().await;
    let tag = "POST /data/api/v1/tags/Plant/Set%20point";
    let large = "x".repeat(1024 * 1024 + 1);
    for (head, body, code, error) in [
        ("DELETE /", "", 405, "method_not_allowed"),
        ("PUT /data/api/v1/tags/Plant/Level", "", 405, "method_not_allowed"),
        ("GET /data/api/v1/tags/%ff", "", 400, "bad_path"),
        (tag, "{", 400, "bad_json"),
        (tag, r#"{"value":[]}"#, 400, "bad_json"),
        (tag, &large, 413, "oversized"),
        (&format!("{tag}\nidempotency-key: a b"), r#"{"value":1}"#, 400, "bad_key"),
        (&format!("{tag}\norigin: http://evil.example"), r#"{"value":1}"#, 403, "origin"),
        ("GET /session", "", 400, "bad_upgrade"),
        ("GET /gateway-network", "", 400, "bad_upgrade"),
    ] {
        let got = node.ask(head, body).await;
        assert_eq!((got.code, got.json()["error"].as_str()), (code, Some(error)), "{head}");
    }
    let mut stream = TcpStream::connect(node.address.0).await.unwrap();
    stream.write_all(b"\x16\x03\x01 not http\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(WAIT, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let metrics = node.get("/metrics").await.body;
    for reason in ["oversized", "origin", "malformed"] {
        assert!(metrics.contains(&format!("rejected_total{{reason=\"{reason}\"}} 1")), "{metrics}");
    }
}
