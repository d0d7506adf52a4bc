//! The pair over HTTP: what tools read, what a person asks, and who may ask it.

use tandem_protocol::gateway::input::Request;
use tandem_protocol::gateway::output::Answer;

use super::Node;
use crate::admin::Token;

#[tokio::test]
async fn redundancy_has_the_fields_that_tools_read() {
    let node = Node::active().await;
    let got = node.get("/data/api/v1/redundancy").await.json();
    let keys: Vec<&str> = got.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = vec![
        "role",
        "projectState",
        "activityLevel",
        "localId",
        "peerId",
        "peerConnected",
        "hasConfigAccess",
        "syncPending",
        "failoverPending",
        "uptime",
        "lastSyncTimestamp",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(
        (got["role"].as_str(), got["activityLevel"].as_str()),
        (Some("Master"), Some("Active"))
    );
    assert!(got["lastSyncTimestamp"].as_i64().unwrap() > 0);
    assert_eq!(node.get("/data/api/v1/redundancy/config").await.json()["own"]["ping_rate_ms"], 100);
    assert_eq!(node.get("/data/api/v1/redundancy/events").await.json()["metadata"]["total"], 0);
    let providers = node.get("/data/api/v1/redundancy/providers").await.json();
    assert_eq!(providers["items"][0]["name"], "project");
}

#[tokio::test]
async fn what_a_person_asks_of_the_pair_is_answered_by_the_rules() {
    let mut node = Node::active().await;
    let at = node.address;
    let refused = |reason: &str| Answer::Refused { reason: reason.to_owned() };
    let seen = |seen| Request::Failover { seen };
    let failover = "gwaction/failover";
    for (path, body, asked, answer, code, error) in [
        (failover, "", seen(None), Answer::Accepted, 200, None),
        ("gwaction/failover?term=5", "", seen(Some(5)), Answer::Accepted, 200, None),
        (failover, r#"{"term":4}"#, seen(Some(4)), other_term(), 409, Some("other_term")),
        (failover, "", seen(None), refused("no standby"), 409, Some("refused")),
        ("gwaction/resync", "", Request::Resync, Answer::Accepted, 200, None),
        ("adopt", "", Request::Adopt, refused("nothing to adopt"), 409, Some("refused")),
    ] {
        let head = node.with_token(&format!("POST /data/api/v1/redundancy/{path}"));
        let (got, pending) = tokio::join!(at.ask(&head, body), async {
            let given = node.stage.requests.recv().await.unwrap();
            assert_eq!(*given.request, asked, "{path}");
            let pending = at.ask("GET /data/api/v1/redundancy", "").await.json();
            given.answer.send(answer).unwrap();
            pending
        });
        assert_eq!(got.code, code, "{path}: {got:?}");
        assert_eq!(pending["failoverPending"], path.contains("failover"), "{path}");
        match error {
            None => assert_eq!(got.body, ""),
            Some(error) => assert_eq!(got.json()["error"], error),
        }
        if error == Some("other_term") {
            assert!(got.head.contains("tandem-term: 5"), "{got:?}");
            assert!(got.json()["reason"].as_str().unwrap().contains("in force is 5"), "{got:?}");
        }
        if error.is_some() {
            let after = at.ask("GET /data/api/v1/redundancy", "").await.json();
            assert_eq!(after["failoverPending"], false, "{path} was refused");
        }
    }
    let wrong = node.with_token("POST /data/api/v1/redundancy/gwaction/failover?term=x");
    let got = at.ask(&wrong, "").await;
    assert_eq!((got.code, got.json()["error"].as_str()), (400, Some("bad_term")));
    let read = node.with_token("GET /data/api/v1/redundancy/gwaction/failover");
    let got = at.ask(&read, "").await;
    assert_eq!(got.code, 405);
}

fn other_term() -> Answer {
    Answer::OtherTerm { counter: Some(5) }
}

#[tokio::test]
async fn only_the_admin_token_opens_what_changes_the_pair() {
    let node = Node::active().await;
    let other = Token::random().unwrap();
    for head in [
        "GET /data/api/v1/redundancy/gwaction/failover",
        "GET /data/api/v1/redundancy/gwaction/resync",
        "GET /data/api/v1/redundancy/adopt",
        "GET /data/api/v1/resources",
        "PUT /data/api/v1/resources/settings/gateway",
        "GET /data/api/v1/archive",
        "POST /data/api/v1/archive/config-1.cbor/apply",
    ] {
        let with = |value: &str| format!("{head}\nauthorization: {value}");
        let bearer = other.authorization();
        let basic = bearer.replace("Bearer", "Basic");
        for head in [head.to_owned(), with(&bearer), with(&basic), with("Bearer"), with("")] {
            let got = node.ask(&head, "").await;
            assert_eq!((got.code, got.json()["error"].as_str()), (401, Some("unauthorized")));
            assert!(got.head.contains("www-authenticate: bearer"), "{head}: {got:?}");
            assert!(got.json()["reason"].as_str().unwrap().contains("admin.token"), "{got:?}");
        }
        let got = node.ask(&node.with_token(head), "").await;
        assert_ne!(got.code, 401, "{head}: {got:?}");
        let lower = node.with_token(head).replace("Bearer", "bearer");
        assert_ne!(node.ask(&lower, "").await.code, 401, "{head}");
    }
    let metrics = node.get("/metrics").await.body;
    assert!(metrics.contains("rejected_total{reason=\"unauthorized\"} 35"), "{metrics}");
}
