//! Pages, assets and the SDK.

use tandem_protocol::node::Level;

use super::{Limits, Node};

#[tokio::test]
async fn pages_assets_and_the_sdk_are_served() {
    // A standby serves them too.
    let node = Node::start(Level::Cold, Limits::default()).await;
    let page = node.get("/p/demo/main").await;
    assert_eq!((page.code, page.body.as_str()), (200, "<h1>Main</h1>"));
    assert!(page.head.contains("text/html; charset=utf-8") && page.head.contains("no-cache"));
    let tag = page.head.lines().find_map(|l| l.strip_prefix("etag: ")).unwrap();
    let again = node.ask(&format!("GET /p/demo/main\nif-none-match: {tag}"), "").await;
    assert_eq!((again.code, again.body.as_str()), (304, ""));

    let start = node.get("/p/demo").await;
    assert!(start.code == 307 && start.head.contains("location: /p/demo/main"), "{start:?}");
    let asset = node.get("/p/demo/assets/a%20b.css").await;
    assert!(asset.code == 200 && asset.head.contains("text/css"), "{asset:?}");

    for (path, reason) in [
        ("/p/demo/away", "project demo has no page away"),
        ("/p/away/main", "there is no project away"),
        ("/p/demo/assets/x", "project demo has no asset x"),
        ("/nothing", "there is nothing at /nothing"),
        ("/sdk/away.js", "the browser SDK has no file away.js"),
        ("/sdk/..%2Fsecret", "the browser SDK has no file ../secret"),
    ] {
        let got = node.get(path).await;
        assert_eq!((got.code, got.json()["reason"].as_str()), (404, Some(reason)), "{path}");
    }
    let people = node.ask("GET /p/demo/away\naccept: text/html", "").await;
    assert!(people.code == 404 && people.body.contains("project demo has no page away"));

    for path in ["/p/demo/main", "/", "/p/demo/away"] {
        let head = node.get(path).await.head;
        assert!(head.contains("content-security-policy: frame-ancestors 'self'"), "{path}: {head}");
    }
    let entry = node.get("/sdk/tandem.js").await;
    assert!(entry.code == 200 && entry.head.contains("cache-control: no-cache"), "{entry:?}");
    let wasm = node.get("/sdk/tandem_bg-0123456789ab.wasm").await;
    assert!(wasm.head.contains("application/wasm") && wasm.head.contains("immutable"), "{wasm:?}");

    let front = node.get("/").await;
    assert!(front.code == 200 && front.body.contains("Desk 7"));
    assert!(front.body.contains("href=\"/p/demo/main\""));
}
