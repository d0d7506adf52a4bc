//! Sessions over a driver that the test plays.

use std::time::Duration;

use serde_json::{Value, json};
use tandem_protocol::node::SyncState;
use tandem_protocol::wire::session::CloseReason;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::Options;
use super::standing::DETAILS_GAP;

mod play;

use play::Node;

fn resume(opened: &Value) -> Value {
    json!({"type": "resume", "session": opened["session"], "token": opened["token"],
        "last_event": opened["last_event"]})
}

#[tokio::test]
async fn a_session_writes_reads_and_is_told() {
    let node = Node::active().await;
    node.publish("Wave", 1);
    let (mut client, opened) = node.session().await;
    assert_eq!((&opened["page"], &opened["via_proxy"]), (&json!("one"), &json!(false)));
    assert_eq!(opened["status"]["level"], "Active");
    let values = client.subscribe(&["Wave", "Setpoint", "Nowhere", "Wave"]).await;
    assert_eq!(
        values["values"],
        json!([
            {"tag": "Wave", "value": 1, "quality": "good", "time": 1},
            {"tag": "Setpoint", "value": 20.0, "quality": "good", "time": 0},
            {"tag": "Nowhere", "value": null, "quality": "bad", "time": 0},
        ])
    );
    client.write(1, "Setpoint", 42).await;
    let mut heard = [client.next().await.unwrap(), client.next().await.unwrap()];
    heard.sort_by_key(|message| message["type"].to_string());
    let [outcome, values] = heard;
    let expected = json!({"type": "outcome", "id": 1, "copies": 2, "outcome": "applied"});
    assert_eq!(outcome, expected);
    assert_eq!(values["values"][0]["value"], 42.0);
    node.store.moved(true);
    let events = client.hear("events").await;
    assert_eq!(events["events"][0]["alarm"]["name"], "Hot");
    client.say(json!({"type": "ping", "n": 9})).await;
    let pong = client.hear("pong").await;
    assert_eq!((&pong["n"], &pong["level"]), (&json!(9), &json!("Active")));
    client.say(json!({"type": "close"})).await;
    assert_eq!(client.hear("closing").await["reason"], "ended");
    assert_eq!(client.next().await, None);
    node.until("ended", |node| node.hub.counts().bound + node.hub.counts().lingering == 0).await;
}

#[tokio::test]
async fn a_standby_keeps_watches_and_tells_them_at_once() {
    let node = Node::standby();
    let mut fresh = node.connect_by(true, 4096).await;
    fresh.say(json!({"type": "open", "project": "plant", "page": "one"})).await;
    let standby = fresh.hear("standby").await;
    assert_eq!(
        (&standby["via_proxy"], &standby["status"]["level"]),
        (&json!(true), &json!("Cold"))
    );
    let mut watch = node.connect().await;
    watch.say(json!({"type": "watch"})).await;
    watch.hear("standby").await;
    watch.say(json!({"type": "ping", "n": 1})).await;
    assert_eq!(watch.hear("pong").await["level"], "Cold");
    node.activate().await;
    for client in [&mut fresh, &mut watch] {
        assert_eq!(client.hear("active").await["status"]["level"], "Active");
    }
    fresh.say(json!({"type": "open", "project": "plant", "page": "one"})).await;
    let opened = fresh.hear("opened").await;
    assert_eq!(opened["handover"], Value::Null, "behind a proxy nobody navigates");
    node.yields();
    for client in [&mut fresh, &mut watch] {
        assert_eq!(client.hear("standby").await["status"]["level"], "Cold");
    }
    fresh.write(1, "Setpoint", 1).await;
    fresh.hear("unbound").await;
    node.activate().await;
    fresh.hear("active").await;
    fresh.say(resume(&opened)).await;
    assert_eq!(fresh.hear("resumed").await["recovered"], true);
}

#[tokio::test]
async fn a_resume_that_names_tags_gets_their_values_at_once() {
    let node = Node::active().await;
    node.publish("Wave", 1);
    let (_, opened) = node.session().await;
    let mut client = node.connect().await;
    let mut message = resume(&opened);
    message["tags"] = json!(["Wave", "Nowhere"]);
    client.say(message).await;
    assert_eq!(client.hear("resumed").await["subscribed"], true);
    let values = client.hear("values").await;
    assert_eq!(
        (&values["values"][0]["value"], values["values"].as_array().unwrap().len()),
        (&json!(1), 2)
    );
    client.say(resume(&opened)).await;
    assert_eq!(client.hear("resumed").await["subscribed"], Value::Null);
}

#[tokio::test]
async fn a_level_is_told_at_once_and_details_of_a_status_rest() {
    let node = Node::standby();
    let mut watch = node.connect().await;
    watch.say(json!({"type": "watch"})).await;
    watch.hear("standby").await;
    let begun = Instant::now();
    for (sync, word) in
        [(SyncState::OutOfDate, "OutOfDate"), (SyncState::Synchronizing, "Synchronizing")]
    {
        node.syncs(sync);
        assert_eq!(watch.hear("standby").await["status"]["sync"], word);
    }
    assert!(begun.elapsed() >= DETAILS_GAP, "{:?}", begun.elapsed());
    node.syncs(SyncState::Good);
    let mut asks = node.connect().await;
    asks.say(json!({"type": "watch"})).await;
    assert_eq!(asks.hear("standby").await["status"]["sync"], "Good", "who asks hears what is so");
    asks.hears_nothing().await;
    let mut soonest = DETAILS_GAP;
    for _ in 0..5 {
        let moved = Instant::now();
        node.activate().await;
        watch.hear("active").await;
        soonest = soonest.min(moved.elapsed());
        node.yields();
        watch.hear("standby").await;
    }
    assert!(soonest < DETAILS_GAP / 2, "{soonest:?}");
}

#[tokio::test]
async fn a_fenced_node_says_nothing_and_holds_what_was_asked() {
    let node = Node::active().await;
    let (mut client, opened) = node.session().await;
    client.subscribe(&["Wave"]).await;
    node.lapse();
    node.publish("Wave", 5);
    client.write(1, "Setpoint", 1).await;
    client.say(json!({"type": "ping", "n": 1})).await;
    client.hears_nothing().await;
    node.fence();
    client.hears_nothing().await;
    assert!(!node.store.asked.lock().unwrap().contains(&"operate 1".to_owned()));
    node.activate().await;
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(client.next().await.unwrap()["type"].to_string());
    }
    kinds.sort();
    assert_eq!(kinds, ["\"outcome\"", "\"pong\"", "\"values\""]);
    node.store.holds(true);
    client.write(2, "Setpoint", 2).await;
    node.until("asked", |node| node.store.asked.lock().unwrap().len() == 3).await;
    node.lapse();
    node.store.holds(false);
    client.hears_nothing().await;
    node.yields();
    client.hear("standby").await;
    client.hears_nothing().await;
    node.activate().await;
    client.hear("active").await;
    client.say(resume(&opened)).await;
    assert_eq!(client.hear("resumed").await["highest"], 2);
    client.write(2, "Setpoint", 2).await;
    assert_eq!(client.hear("outcome").await["outcome"], "applied");
}

#[tokio::test]
async fn a_fresh_connection_has_no_session_and_nobody_gets_another_ones() {
    let node = Node::active().await;
    let (mut first, opened) = node.session().await;
    let mut second = node.connect().await;
    for message in [
        json!({"type": "ping", "n": 1}),
        json!({"type": "subscribe", "tags": []}),
        json!({"type": "request", "id": 1, "deadline": 1, "op": "page", "page": "one"}),
    ] {
        second.say(message).await;
        second.hear("unbound").await;
    }
    second.say(json!({"type": "resume", "session": "0", "token": "x"})).await;
    assert_eq!(second.hear("forgotten").await["session"], "0");
    second.say(resume(&opened)).await;
    second.hear("resumed").await;
    first.hear("replaced").await;
    assert_eq!(first.hear("closing").await["reason"], "replaced");
    second.say(resume(&opened)).await;
    second.hear("resumed").await;
    let mut thief = node.connect().await;
    thief.say(json!({"type": "resume", "session": opened["session"], "token": "x"})).await;
    assert_eq!(thief.hear("closing").await["reason"], "bad_token");
    assert_eq!(thief.next().await, None);
    second.say(json!({"type": "ping", "n": 1})).await;
    second.hear("pong").await;
    assert_eq!(node.closed(CloseReason::BadToken), 1);
    assert_eq!(node.closed(CloseReason::Replaced), 1);
}

#[tokio::test]
async fn a_page_goes_on_with_a_hand_over_token_once() {
    let node = Node::active().await;
    let (_old, opened) = node.session().await;
    let with = |nonce: &str| {
        json!({"type": "resume", "session": opened["session"], "token": opened["handover"],
            "nonce": nonce})
    };
    for (nonce, heard) in [("n", "resumed"), ("n", "resumed"), ("m", "closing")] {
        let mut page = node.connect().await;
        page.say(with(nonce)).await;
        let message = page.hear(heard).await;
        if heard == "resumed" {
            assert_eq!(message["token"], opened["token"], "it goes on with the session's own");
        }
    }
}

#[tokio::test]
async fn a_resumed_client_gets_the_events_that_it_missed() {
    let node = Node::active().await;
    let (first, opened) = node.session().await;
    drop(first);
    for n in 0..3 {
        node.store.moved(n % 2 == 0);
    }
    let mut client = node.connect().await;
    client.say(resume(&opened)).await;
    let resumed = client.hear("resumed").await;
    assert_eq!((&resumed["recovered"], &resumed["last_event"]), (&json!(true), &json!(0)));
    assert_eq!(resumed["alarms"][0]["raise"], 2);
    assert_eq!(client.hear("events").await["events"].as_array().unwrap().len(), 3);
    let mut ahead = resume(&opened);
    ahead["last_event"] = json!(99);
    client.say(ahead).await;
    let resumed = client.hear("resumed").await;
    assert_eq!((&resumed["recovered"], &resumed["last_event"]), (&json!(false), &json!(3)));
}

#[tokio::test]
async fn a_wrong_message_closes_its_connection_with_a_reason() {
    let node = Node::active().await;
    let rows = [
        (Message::text("{"), "malformed", CloseReason::Malformed),
        (Message::text(r#"{"type":"dance"}"#), "malformed", CloseReason::Malformed),
        (Message::binary(vec![1]), "oversized", CloseReason::Oversized),
        (Message::text("x".repeat(300_000)), "oversized", CloseReason::Oversized),
    ];
    for (message, reason, counter) in rows {
        let before = node.closed(counter);
        let mut client = node.connect().await;
        client.say_raw(message).await;
        assert_eq!(client.hear("closing").await["reason"], reason);
        assert_eq!(client.next().await, None);
        assert_eq!(node.closed(counter), before + 1);
    }
    let (mut bound, _) = node.session().await;
    bound.say(json!({"type": "open", "project": "plant", "page": "one"})).await;
    assert_eq!(bound.hear("closing").await["reason"], "unexpected");
    let mut lost = node.connect().await;
    lost.say(json!({"type": "open", "project": "plant", "page": "nine"})).await;
    let closing = lost.hear("closing").await;
    assert_eq!(closing["reason"], "no_such_page");
    assert_eq!(closing["detail"], "plant/nine");
    let (mut many, _) = node.session().await;
    let tags: Vec<String> = (0..2_001).map(|n| format!("t{n}")).collect();
    many.say(json!({"type": "subscribe", "tags": tags})).await;
    assert_eq!(many.hear("closing").await["reason"], "limit");
}

#[tokio::test]
async fn requests_run_one_at_a_time_in_the_order_of_their_ids() {
    let node = Node::active().await;
    let (mut client, _) = node.session().await;
    node.store.holds(true);
    for id in [1, 4, 3, 2, 3] {
        client.write(id, "Count", 1).await;
    }
    node.until("the first runs", |node| node.store.asked.lock().unwrap().len() == 2).await;
    client.say(json!({"type": "ping", "n": 1})).await;
    client.hear("pong").await;
    node.store.holds(false);
    for id in 1..=4 {
        assert_eq!(client.hear("outcome").await["id"], id);
    }
    let expected = ["open", "operate 1", "operate 2", "operate 3", "operate 4"];
    assert_eq!(*node.store.asked.lock().unwrap(), expected);
    node.store.holds(true);
    for id in 5..=69 {
        client.write(id, "Count", 1).await;
    }
    let closing = client.hear("closing").await;
    assert_eq!(
        (&closing["reason"], closing["detail"].as_str()),
        (&json!("limit"), Some("64 requests without an outcome"))
    );
}

#[tokio::test]
async fn a_slow_reader_gets_the_newest_value_and_holds_no_queue() {
    let slow = Duration::from_millis(200);
    let node = Node::with(Options { slow, ..Options::default() });
    node.activate().await;
    let mut client = node.connect_by(false, 256).await;
    client.say(json!({"type": "open", "project": "plant", "page": "one"})).await;
    client.hear("opened").await;
    client.subscribe(&["Wave"]).await;
    for n in 0..10_000 {
        node.publish("Wave", n);
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut messages = 0;
    loop {
        messages += 1;
        let values = client.hear("values").await;
        if values["values"][0]["value"] == 9_999 {
            break;
        }
    }
    assert!(messages < 200, "{messages} messages for one tag");
    // Now it does not read at all.
    let mut n = 10_000;
    while node.closed(CloseReason::Slow) == 0 {
        n += 1;
        node.publish("Wave", n);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(n < 20_000, "it is closed in time");
    }
    node.until("it left", |node| node.hub.counts().connections == 0).await;
}

#[tokio::test]
async fn a_session_without_a_connection_lingers_and_ends() {
    let linger = Duration::from_millis(100);
    let node = Node::with(Options { linger, ..Options::default() });
    node.activate().await;
    let (kept, _) = node.session().await;
    let (left, opened) = node.session().await;
    drop(left);
    node.until("the left one ended", |node| {
        node.store.asked.lock().unwrap().contains(&"end".to_owned())
    })
    .await;
    let mut back = node.connect().await;
    back.say(resume(&opened)).await;
    back.hear("forgotten").await;
    assert_eq!(node.hub.counts().bound, 1);
    drop(kept);
}

#[tokio::test]
async fn too_many_sessions_are_refused_and_the_stop_is_told() {
    let node = Node::with(Options { sessions: 1, ..Options::default() });
    node.activate().await;
    let (mut client, _) = node.session().await;
    let mut second = node.connect().await;
    second.say(json!({"type": "open", "project": "plant", "page": "one"})).await;
    let closing = second.hear("closing").await;
    assert_eq!((&closing["reason"], &closing["detail"]), (&json!("limit"), &json!("1 sessions")));
    node.stop();
    assert_eq!(client.hear("closing").await["reason"], "stopping");
}
