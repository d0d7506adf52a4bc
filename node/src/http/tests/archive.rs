//! The archive over HTTP, with rules that the test plays.

use bytes::Bytes;
use serde_json::json;
use tandem_protocol::gateway::input::Request;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{Item, ItemKey, Kind, Position};
use tandem_protocol::node::Level;
use tandem_protocol::session::Outcome;

use super::{Limits, Node};
use crate::store::ArchiveFile;

const ARCHIVE: &str = "/data/api/v1/archive";

fn put_aside(node: &Node, name: &str, kind: Kind, items: &[(&str, &str, &'static str)]) {
    let item = |body: &'static str| Item {
        body: Bytes::from_static(body.as_bytes()),
        changed: Position::default(),
    };
    let items = items.iter().map(|(p, k, body)| (ItemKey::new(p, *k), item(body)));
    let file = ArchiveFile {
        kind,
        reason: "the peer's config stands".to_owned(),
        node: Some("a".to_owned()),
        position: Position::default(),
        items: items.collect(),
    };
    let folder = node.data.path().join("archive");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), minicbor::to_vec(&file).unwrap()).unwrap();
}

#[tokio::test]
async fn what_was_put_aside_is_shown_and_comes_back_item_by_item() {
    let mut node = Node::active().await;
    put_aside(
        &node,
        "config-7.cbor",
        Kind::Config,
        &[
            ("project", "demo/assets/lost.css", "a{}"),
            ("project", "demo/pages/main.html", "<h1>Old</h1>"),
            ("project", "demo/project.toml", "title = \"Demo\"\nstart = \"main\"\n"),
        ],
    );
    let (at, token) = (node.address, node.token.authorization());
    let with = |head: String| format!("{head}\nauthorization: {token}");
    let listed = at.ask(&with(format!("GET {ARCHIVE}")), "").await.json();
    assert_eq!(listed["items"][0]["name"], "config-7.cbor");
    assert_eq!(
        (&listed["items"][0]["time"], &listed["items"][0]["kind"]),
        (&json!(7), &json!("config"))
    );
    let shown = at.ask(&with(format!("GET {ARCHIVE}/config-7.cbor")), "").await.json();
    let now: Vec<_> = shown["items"].as_array().unwrap().iter().map(|i| &i["now"]).collect();
    assert_eq!(now, ["absent", "differs", "same"]);
    let item = format!("GET {ARCHIVE}/config-7.cbor/project/demo/pages/main.html");
    assert_eq!(at.ask(&with(item), "").await.body, "<h1>Old</h1>");

    let apply = with(format!("POST {ARCHIVE}/config-7.cbor/apply"));
    for (body, code, error) in [
        ("{}", 400, "bad_choice"),
        (r#"{"all":true,"items":["project/x"]}"#, 400, "bad_choice"),
        (r#"{"items":["project/demo/away"]}"#, 404, "not_found"),
        (r#"{"item":"x"}"#, 400, "bad_json"),
    ] {
        let got = at.ask(&apply, body).await;
        assert_eq!((got.code, got.json()["error"].as_str()), (code, Some(error)), "{body}");
    }
    for name in ["config-8.cbor", "..%2fconfig-7.cbor"] {
        assert_eq!(at.ask(&with(format!("GET {ARCHIVE}/{name}")), "").await.code, 404);
    }
    // All but what is the same already, as one ordinary change of config.
    let (got, ()) = tokio::join!(at.ask(&apply, r#"{"all":true}"#), async {
        let asked = node.stage.requests.recv().await.unwrap();
        let Request::Config { changes, .. } = &*asked.request else { panic!("{asked:?}") };
        assert_eq!(changes.len(), 2, "{changes:?}");
        asked.answer.send(Answer::Done { outcome: Outcome::Applied, copies: 2 }).unwrap();
    });
    assert_eq!((got.code, &got.json()["copies"]), (200, &json!(2)));
    let applied = ["project/demo/assets/lost.css", "project/demo/pages/main.html"];
    assert_eq!(got.json()["applied"], json!(applied));
}

#[tokio::test]
async fn kept_items_come_back_on_the_active_node_only() {
    let mut node = Node::start(Level::Cold, Limits::default()).await;
    put_aside(&node, "kept-9.cbor", Kind::Kept, &[("tags", "Plant/Set point", "x")]);
    let head = node.with_token(&format!("POST {ARCHIVE}/kept-9.cbor/apply"));
    let choice = r#"{"items":["tags/Plant/Set point"]}"#;
    let at = node.address;
    let got = at.ask(&head, choice).await;
    assert!(got.code == 503 && got.head.contains("tandem-standby"), "{got:?}");
    node.stage.permit(super::term(5), std::time::Duration::from_secs(3600));
    let (got, ()) = tokio::join!(at.ask(&head, choice), async {
        let asked = node.stage.requests.recv().await.unwrap();
        let Request::Keep { changes } = &*asked.request else { panic!("{asked:?}") };
        assert_eq!(changes[0].key, ItemKey::new("tags", "Plant/Set point"));
        asked.answer.send(Answer::Done { outcome: Outcome::Applied, copies: 1 }).unwrap();
    });
    assert_eq!((got.code, &got.json()["copies"]), (200, &json!(1)));
}

#[tokio::test]
async fn what_was_done_before_the_disk_was_full_is_told() {
    let mut node = Node::active().await;
    // Two that do not travel together, and one that is wrong.
    let large: &'static str = Box::leak("x".repeat(400 * 1024).into_boxed_str());
    let items = [("project", "demo/assets/a", large), ("project", "demo/assets/b", large)];
    put_aside(&node, "config-7.cbor", Kind::Config, &items);
    let wrong = [items[0], items[1], ("settings", "gateway", "{\"colour\":1}")];
    put_aside(&node, "config-8.cbor", Kind::Config, &wrong);
    let head = node.with_token(&format!("POST {ARCHIVE}/config-7.cbor/apply"));
    let at = node.address;
    let (got, ()) = tokio::join!(at.ask(&head, r#"{"all":true}"#), async {
        for answer in [Answer::Done { outcome: Outcome::Applied, copies: 2 }, Answer::DiskFull] {
            let asked = node.stage.requests.recv().await.unwrap();
            asked.answer.send(answer).unwrap();
        }
    });
    assert_eq!((got.code, &got.json()["error"]), (507, &json!("disk_full")));
    assert_eq!(got.json()["applied"], json!(["project/demo/assets/a"]));
    let reason = got.json()["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.starts_with("1 of 2 items are applied; then: the disk is full"), "{reason}");

    let head = node.with_token(&format!("POST {ARCHIVE}/config-8.cbor/apply"));
    let got = at.ask(&head, r#"{"all":true}"#).await;
    assert_eq!((got.code, &got.json()["applied"]), (422, &json!(null)), "{got:?}");
    assert!(node.stage.requests.try_recv().is_err(), "nothing is done where one is wrong");
}
