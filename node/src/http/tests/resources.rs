//! Config over HTTP, with rules that the test plays.

use bytes::Bytes;
use serde_json::{Value, json};
use tandem_protocol::gateway::input::{Expected, Items, Request};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{Change, Item, ItemKey, Kind, Position};
use tandem_protocol::node::{Level, Role};
use tandem_protocol::session::Outcome;
use tandem_protocol::status::NodeAddress;
use tandem_protocol::term::ActivationId;

use super::{At, Got, Node, config, status};

const RESOURCES: &str = "/data/api/v1/resources";
const MAIN: &str = "/data/api/v1/resources/project/demo/pages/main.html";
/// The ETag of everything in the test's config.
const OLD: &str = "\"0-0\"";

fn at(sequence: u64) -> Position {
    Position { activation: ActivationId(0x1a), sequence }
}

/// Answers one `Request::Config` as the rules would, and shows what it makes.
async fn rules(node: &mut Node, sequence: u64) -> (Vec<Change>, Vec<Expected>) {
    let asked = node.stage.requests.recv().await.unwrap();
    let Request::Config { changes, expect } = *asked.request else { panic!("config is asked") };
    let mut items = node.driver.items(Kind::Config);
    for Change { key, body } in &changes {
        match body {
            Some(body) => {
                items.insert(key.clone(), Item { body: body.clone(), changed: at(sequence) })
            }
            None => items.remove(key),
        };
    }
    node.stage.reload(Kind::Config, items);
    asked.answer.send(Answer::Done { outcome: Outcome::Applied, copies: 2 }).unwrap();
    (changes, expect)
}

async fn ask(node: &Node, head: &str, body: &str) -> Got {
    node.ask(&node.with_token(head), body).await
}

#[tokio::test]
async fn config_is_listed_and_read_with_its_etags() {
    let node = Node::start(Level::Cold, super::Limits::default()).await;
    let all = ask(&node, &format!("GET {RESOURCES}"), "").await.json();
    assert_eq!(all["items"][0]["provider"], "project");
    assert_eq!((&all["items"][0]["items"], &all["items"][1]["items"]), (&json!(3), &json!(1)));
    assert_eq!(all["metadata"]["changeable"], true);
    let project = ask(&node, &format!("GET {RESOURCES}/project"), "").await.json();
    assert_eq!(project["metadata"]["total"], 3);
    let main = &project["items"][1];
    assert_eq!(
        (main["key"].as_str(), main["etag"].as_str()),
        (Some("demo/pages/main.html"), Some(OLD))
    );
    assert_eq!(main["sha256"].as_str().map(str::len), Some(64));
    let got = ask(&node, &format!("GET {MAIN}"), "").await;
    assert_eq!((got.code, got.body.as_str()), (200, "<h1>Main</h1>"));
    assert!(
        got.head.contains("content-type: text/html") && got.head.contains("etag: \"0-0\""),
        "{got:?}"
    );
    let again = ask(&node, &format!("GET {MAIN}\nif-none-match: {OLD}"), "").await;
    assert_eq!((again.code, again.body.as_str()), (304, ""));
    let settings = ask(&node, &format!("GET {RESOURCES}/settings/gateway"), "").await;
    assert!(settings.head.contains("application/json"), "{settings:?}");
    assert_eq!(ask(&node, &format!("GET {RESOURCES}/project/demo/away"), "").await.code, 404);
    assert_eq!(ask(&node, &format!("GET {RESOURCES}/away"), "").await.json()["items"], json!([]));
    let asset = format!("GET {RESOURCES}/project/demo/assets/a%20b.css");
    assert_eq!(ask(&node, &asset, "").await.code, 200);
}

#[tokio::test]
async fn a_change_is_one_update_guarded_by_what_was_seen() {
    let mut node = Node::active().await;
    let key = ItemKey::new("project", "demo/pages/main.html");
    let (address, token) = (node.address, node.token.authorization());
    let with = move |head: String| format!("{head}\nauthorization: {token}");
    let head = with(format!("PUT {MAIN}\nif-match: {OLD}"));
    let (got, (changes, expect)) = tokio::join!(address.ask(&head, "new"), rules(&mut node, 7));
    assert_eq!((got.code, got.json()["copies"].as_u64()), (200, Some(2)));
    assert!(got.head.contains("etag: \"1a-7\""), "{got:?}");
    assert_eq!(got.json()["position"], json!({"activation": "1a", "sequence": 7}));
    assert_eq!(changes[0].body, Some(Bytes::from_static(b"new")));
    assert_eq!(expect, [Expected { key: key.clone(), changed: Some(Position::default()) }]);

    // As it was before: refused with what is there, and nothing is asked of the rules.
    let got = address.ask(&head, "newer").await;
    assert_eq!((got.code, got.json()["etag"].as_str()), (412, Some("\"1a-7\"")));
    assert!(got.head.contains("etag: \"1a-7\""), "{got:?}");
    let new = with(format!("PUT {MAIN}\nif-none-match: *"));
    assert_eq!(address.ask(&new, "x").await.code, 412);
    assert!(node.stage.requests.try_recv().is_err());

    // Another change comes between the look and the rules: they say so, and so does the answer.
    let head = with(format!("PUT {MAIN}\nif-match: \"1a-7\""));
    let (got, ()) = tokio::join!(address.ask(&head, "late"), async {
        let asked = node.stage.requests.recv().await.unwrap();
        let mut items = node.driver.items(Kind::Config);
        items.insert(key.clone(), Item { body: Bytes::from_static(b"other"), changed: at(8) });
        node.stage.reload(Kind::Config, items);
        asked.answer.send(Answer::Changed { key: key.clone() }).unwrap();
    });
    assert_eq!((got.code, got.json()["etag"].as_str()), (412, Some("\"1a-8\"")));

    // Without a condition the change is unconditional.
    let asset = with(format!("PUT {RESOURCES}/project/demo/assets/new.css"));
    let (got, (_, expect)) = tokio::join!(address.ask(&asset, "a{}"), rules(&mut node, 9));
    assert_eq!((got.code, expect.len()), (201, 0));
    let delete = with(format!("DELETE {RESOURCES}/project/demo/assets/new.css"));
    let (got, (changes, _)) = tokio::join!(address.ask(&delete, ""), rules(&mut node, 10));
    assert_eq!((got.code, &changes[0].body, &got.json()["etag"]), (200, &None, &Value::Null));
    assert_eq!(address.ask(&delete, "").await.code, 404);
}

#[tokio::test]
async fn many_changes_are_one_update_or_none() {
    let mut node = Node::active().await;
    let (address, token) = (node.address, node.token.authorization());
    let head = format!("POST {RESOURCES}\nauthorization: {token}");
    let changes = |main: &str| {
        json!({"changes": [
            {"provider": "project", "key": "demo/pages/main.html", "text": "<p>", "if_match": main},
            {"provider": "project", "key": "demo/assets/x.bin", "base64": "AAH/", "if_none_match": "*"},
            {"provider": "project", "key": "demo/assets/a b.css", "delete": true},
        ]})
        .to_string()
    };
    let body = changes(OLD);
    let (got, (changed, expect)) = tokio::join!(address.ask(&head, &body), rules(&mut node, 7));
    assert_eq!((got.code, got.json()["position"]["sequence"].as_u64()), (200, Some(7)));
    assert_eq!((changed.len(), expect.len()), (3, 2));
    assert_eq!(changed[1].body, Some(Bytes::from_static(&[0, 1, 255])));
    assert_eq!(got.json()["items"][1]["etag"], "\"1a-7\"");
    let got = address.ask(&head, &changes("\"1a-6\"")).await;
    assert_eq!((got.code, got.json()["key"].as_str()), (412, Some("demo/pages/main.html")));

    let one = |more: &str| {
        format!(r#"{{"changes":[{{"provider":"project","key":"demo/assets/x",{more}}}]}}"#)
    };
    for (body, code, error) in [
        ("{".to_owned(), 400, "bad_json"),
        (r#"{"changes":[]}"#.to_owned(), 400, "bad_change"),
        (one(r#""base64":"A""#), 400, "bad_change"),
        (one(r#""text":"x","delete":true"#), 400, "bad_change"),
        (one(r#""body":"x""#), 400, "bad_json"),
        (one(&format!(r#""text":"{}""#, "x".repeat(3_200_000))), 413, "too_large"),
        (one(&format!(r#""text":"{}""#, "x".repeat(6_000_000))), 413, "oversized"),
    ] {
        let got = address.ask(&head, &body).await;
        assert_eq!((got.code, got.json()["error"].as_str()), (code, Some(error)));
    }
    assert!(node.stage.requests.try_recv().is_err());
}

#[tokio::test]
async fn what_could_not_be_put_in_force_is_refused_by_name() {
    let mut node = Node::active().await;
    let large = "x".repeat(2 * 1024 * 1024 + 1);
    for (path, body, code, error, says) in [
        ("settings/gateway", "{", 422, "invalid", "settings/gateway: "),
        ("settings/gateway", r#"{"tags":[{"path":"A","kind":"odd"}]}"#, 422, "invalid", "odd"),
        ("settings/other", "{}", 422, "no_place", "one item, gateway"),
        ("sessions/x", "{}", 422, "no_place", "no provider of config called sessions"),
        ("project/demo/project.toml", "start = 1", 422, "invalid", "project.toml:1: "),
        ("project/demo/project.toml", "start = \"b\"", 422, "invalid", "no page pages/b.html"),
        ("project/demo/assets/..%2f..%2fx", "", 422, "no_place", "a part of the name"),
        ("project/demo/assets/x", &large, 413, "oversized", "2097152 bytes"),
    ] {
        let got = ask(&node, &format!("PUT {RESOURCES}/{path}"), body).await;
        assert_eq!((got.code, got.json()["error"].as_str()), (code, Some(error)), "{path}");
        assert!(got.json()["reason"].as_str().unwrap().contains(says), "{path}: {got:?}");
    }
    let got = ask(&node, &format!("DELETE {MAIN}"), "").await;
    assert_eq!((got.code, got.json()["error"].as_str()), (422, Some("invalid")));
    assert!(node.stage.requests.try_recv().is_err(), "nothing was asked of the rules");
    assert_eq!(ask(&node, &format!("PATCH {MAIN}"), "").await.code, 405);
}

#[tokio::test]
async fn a_backup_says_where_the_master_is_and_does_nothing() {
    let mut node = Node::start(Level::Active, super::Limits::default()).await;
    let url =
        |node: &str, url: &str| NodeAddress { node: node.parse().unwrap(), url: url.to_owned() };
    let mut backup = status(Level::Active);
    backup.role = Role::Backup;
    backup.addresses = vec![url("a", "http://10.0.0.6:8088"), url("m", "http://10.0.0.5:8088")];
    node.stage.status(backup.clone());
    for head in [format!("PUT {MAIN}"), format!("DELETE {MAIN}"), format!("POST {RESOURCES}")] {
        let got = ask(&node, &head, "").await;
        assert_eq!((got.code, got.json()["error"].as_str()), (409, Some("not_master")), "{head}");
        assert_eq!(got.json()["master"], json!({"node": "m", "url": "http://10.0.0.5:8088"}));
        let path = head.split_once(' ').unwrap().1;
        assert!(got.head.contains(&format!("location: http://10.0.0.5:8088{path}")), "{got:?}");
        assert!(got.head.contains("tandem-master: http://10.0.0.5:8088"), "{got:?}");
    }
    backup.addresses.truncate(1);
    node.stage.status(backup);
    let got = ask(&node, &format!("PUT {MAIN}"), "x").await;
    assert_eq!((got.code, &got.json()["master"]), (409, &Value::Null));
    assert!(node.stage.requests.try_recv().is_err());
    let read = ask(&node, &format!("GET {RESOURCES}"), "").await.json();
    assert_eq!(read["metadata"]["changeable"], false);
}

#[tokio::test]
async fn what_the_rules_answer_is_told() {
    let mut node = Node::active().await;
    let head = node.with_token(&format!("PUT {MAIN}"));
    let at: At = node.address;
    for (answer, code, error) in [
        (Answer::NotStored, 507, "not_stored"),
        (Answer::DiskFull, 507, "disk_full"),
        (Answer::Done { outcome: Outcome::Unknown, copies: 0 }, 507, "unknown"),
        (Answer::NotMaster, 503, "receiving"),
        (Answer::Standby, 503, "starting"),
        (Answer::Busy, 503, "busy"),
        (Answer::Refused { reason: "no".to_owned() }, 409, "refused"),
        (Answer::NoSession, 500, "internal"),
    ] {
        let (got, ()) = tokio::join!(at.ask(&head, "x"), async {
            let asked = node.stage.requests.recv().await.unwrap();
            asked.answer.send(answer).unwrap();
        });
        assert_eq!((got.code, got.json()["error"].as_str()), (code, Some(error)));
    }
    let none: Items = config();
    assert_eq!(node.driver.items(Kind::Config), none, "nothing was changed");
}
