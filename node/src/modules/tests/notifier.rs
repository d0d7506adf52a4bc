//! The notifier before a webhook that the test plays.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tandem_protocol::gateway::input::Request;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::node::Level;
use tandem_protocol::session::Operation;
use tandem_protocol::tag::TagValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::bench::Bench;
use crate::modules::{Alarms, Notifier};

/// How the desk answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Confirms,
    Fails,
    /// Hears and never answers.
    Silent,
}

/// Where notifications arrive.
#[derive(Clone)]
struct Desk {
    url: String,
    heard: Arc<Mutex<Vec<Value>>>,
    manner: Arc<Mutex<Manner>>,
}

impl Desk {
    async fn open(manner: Manner) -> Desk {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/desk", listener.local_addr().unwrap());
        let desk = Desk { url, heard: Arc::default(), manner: Arc::new(Mutex::new(manner)) };
        let serving = desk.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        desk
    }

    async fn serve(self, mut stream: tokio::net::TcpStream) {
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        let body = loop {
            let Ok(n @ 1..) = stream.read(&mut buffer).await else { return };
            text.extend_from_slice(&buffer[..n]);
            let whole = String::from_utf8_lossy(&text).into_owned();
            let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
            if body.len() >= length.unwrap().parse::<usize>().unwrap() {
                break body.to_owned();
            }
        };
        self.heard.lock().unwrap().push(serde_json::from_str(&body).unwrap());
        let status = match *self.manner.lock().unwrap() {
            Manner::Confirms => "204 No Content",
            Manner::Fails => "500 Internal Server Error",
            Manner::Silent => "",
        };
        if status.is_empty() {
            // Until the other side gives up.
            let _ = stream.read(&mut buffer).await;
            return;
        }
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    fn is(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn heard(&self) -> Vec<Value> {
        self.heard.lock().unwrap().clone()
    }

    /// Raise and repeat mark of each.
    fn told(&self) -> Vec<(u64, bool)> {
        let told = self.heard().into_iter().map(|told| {
            (told["raise"].as_u64().unwrap(), told["possible_repeat"].as_bool().unwrap())
        });
        told.collect()
    }
}

fn start(desk: &Desk, delay_ms: u64) -> Bench {
    let settings = json!({
        "tags": [{ "path": "Level", "kind": "memory", "initial": 0.0 }],
        "pipelines": [{ "name": "desk", "webhook": desk.url, "delay_ms": delay_ms }],
        "alarms": [
            { "name": "Full", "tag": "Level", "above": 90, "pipeline": "desk", "text": "Full!" },
            { "name": "High", "tag": "Level", "above": 80 },
        ],
    });
    let bench = Bench::new(Level::Cold, &settings);
    let room = bench.room();
    let alarms = Alarms::new(room.context("alarms"));
    let notifier = Notifier::new(room.context("notifier"));
    bench.run(room, vec![Box::new(alarms), Box::new(notifier)]);
    bench
}

async fn writes(bench: &Bench, key: &str, value: f64) {
    let (tag, value) = ("Level".to_owned(), TagValue::Float(value));
    bench.operate(key, Operation::Write { tag, value }).await;
}

async fn acks(bench: &Bench, raise: u64) {
    let alarm = "Full".to_owned();
    let ack = Operation::Ack { alarm, raise, who: Some("Kim".to_owned()), note: None };
    bench.operate(&format!("ack {raise}"), ack).await;
}

/// The keys of the notifier's records.
fn records(bench: &Bench) -> Vec<String> {
    let kept = bench.kept();
    let own = kept.keys().filter(|key| key.provider == "notifier");
    own.map(|key| key.key.clone()).collect()
}

fn keeps(bench: &Bench) -> usize {
    bench.asked().iter().filter(|request| matches!(request, Request::Keep { .. })).count()
}

#[tokio::test]
async fn a_raise_is_intended_told_and_done() {
    let desk = Desk::open(Manner::Confirms).await;
    let bench = start(&desk, 0);
    bench.permit(1);
    writes(&bench, "k", 95.0).await;
    bench.until("it is done", |bench| keeps(bench) == 2).await;
    let told = desk.heard();
    assert_eq!(desk.told(), [(1, false)]);
    let told = &told[0];
    assert_eq!(
        (&told["alarm"], &told["value"], &told["text"]),
        (&json!("Full"), &json!(95.0), &json!("Full!"),)
    );
    assert_eq!((&told["node"], &told["term"]["counter"]), (&json!("a"), &json!(1)));
    assert!(told["id"].as_str().unwrap().ends_with("/Full/1"), "{told}");
    assert!(told["time"].as_u64().unwrap() > 0, "{told}");
    // The next raise is told for itself, and the record of the older one goes.
    writes(&bench, "l", 0.0).await;
    bench.until("it clears", |bench| !bench.alarm("Full").unwrap().raised).await;
    writes(&bench, "m", 95.0).await;
    bench.until("it is done again", |bench| keeps(bench) == 4).await;
    assert_eq!(desk.told(), [(1, false), (2, false)]);
    assert_eq!(records(&bench), ["Full/00000000000000000002"]);
}

#[tokio::test]
async fn without_an_intent_nothing_leaves() {
    let desk = Desk::open(Manner::Confirms).await;
    let bench = start(&desk, 0);
    writes(&bench, "k", 95.0).await;
    let raise = Request::AlarmMoved { alarm: "Full".to_owned(), raised: true };
    bench.driver.request(raise).await;
    bench.refuses(Some(Answer::NotStored));
    bench.permit(1);
    bench.until("an intent is tried", |bench| keeps(bench) == 1).await;
    bench.settles().await;
    assert_eq!(desk.told(), []);
    bench.refuses(None);
    bench.until("it is told", |_| desk.told() == [(1, false)]).await;
}

#[tokio::test]
async fn the_next_node_tells_again_what_is_not_done() {
    let desk = Desk::open(Manner::Silent).await;
    let (a, b) = (start(&desk, 0), start(&desk, 0));
    a.permit(1);
    writes(&a, "k", 95.0).await;
    a.until("it is told", |_| desk.told().len() == 1).await;
    a.stage.withdraw();
    desk.is(Manner::Confirms);
    b.takes_over(&a);
    b.permit(2);
    b.until("it is done", |bench| keeps(bench) == 1).await;
    assert_eq!(desk.told(), [(1, false), (1, true)]);
    let heard = desk.heard();
    assert_eq!(heard[0]["id"], heard[1]["id"], "a receiver can see that it is the same");
    assert_eq!(heard[1]["term"]["counter"], json!(2));
    // A third one finds it done.
    let c = start(&desk, 0);
    c.takes_over(&b);
    c.permit(3);
    c.settles().await;
    assert_eq!((desk.told().len(), keeps(&c)), (2, 0));
}

#[tokio::test]
async fn what_was_raised_before_an_intent_was_made_is_told() {
    let desk = Desk::open(Manner::Confirms).await;
    let bench = start(&desk, 0);
    let raise = Request::AlarmMoved { alarm: "Full".to_owned(), raised: true };
    bench.driver.request(raise).await;
    writes(&bench, "k", 95.0).await;
    assert_eq!(keeps(&bench), 0);
    bench.permit(2);
    bench.until("it is told", |_| desk.told() == [(1, false)]).await;
}

#[tokio::test]
async fn what_is_seen_within_the_delay_is_told_to_nobody() {
    let desk = Desk::open(Manner::Confirms).await;
    let bench = start(&desk, 300);
    bench.permit(1);
    writes(&bench, "k", 95.0).await;
    bench.until("it is intended", |bench| records(bench).len() == 1).await;
    acks(&bench, 1).await;
    bench.until("it is forgotten", |bench| records(bench).is_empty()).await;
    writes(&bench, "l", 0.0).await;
    bench.until("it clears", |bench| !bench.alarm("Full").unwrap().raised).await;
    writes(&bench, "m", 95.0).await;
    bench.until("it is intended again", |bench| records(bench).len() == 1).await;
    let (alarm, who, note) = ("Full".to_owned(), None, None);
    bench.operate("n", Operation::Shelve { alarm, seconds: 3600, who, note }).await;
    bench.until("it is forgotten again", |bench| records(bench).is_empty()).await;
    assert_eq!(desk.told(), []);
    // A shelf that ends while nobody has acked lets it be told.
    bench.operate("o", Operation::Unshelve { alarm: "Full".to_owned() }).await;
    bench.until("it is told", |_| desk.told() == [(2, false)]).await;
}

#[tokio::test]
async fn what_is_not_confirmed_is_told_again_and_says_so() {
    let desk = Desk::open(Manner::Fails).await;
    let bench = start(&desk, 0);
    bench.permit(1);
    writes(&bench, "k", 95.0).await;
    bench.until("it is told", |_| desk.told().len() == 1).await;
    desk.is(Manner::Confirms);
    bench.until("it is done", |bench| keeps(bench) == 2).await;
    assert_eq!(desk.told(), [(1, false), (1, true)]);
}

#[tokio::test]
async fn without_a_permit_nothing_leaves() {
    let desk = Desk::open(Manner::Confirms).await;
    let bench = start(&desk, 200);
    bench.permit_for(1, Duration::from_secs(3600));
    writes(&bench, "k", 95.0).await;
    bench.until("it is intended", |bench| records(bench).len() == 1).await;
    // As on a node that was stopped: nobody tells the module, only the gate says so.
    bench.permit_for(1, Duration::ZERO);
    let waited = tokio::time::Instant::now() + Duration::from_millis(400);
    bench.until("the delay is over", |_| tokio::time::Instant::now() > waited).await;
    assert_eq!(desk.told(), []);
    bench.permit(1);
    bench.until("it is told", |_| desk.told() == [(1, false)]).await;
}
