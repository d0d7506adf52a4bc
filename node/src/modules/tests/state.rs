//! State and operations of a module on two nodes.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tandem_protocol::gateway::input::Request;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::Kind;
use tandem_protocol::node::Level;

use super::bench::Bench;
use crate::modules::{Context, Failure, Module, Now, State};

/// A list of words: said by operations, heard by itself.
#[derive(Debug, Default)]
struct Words {
    words: Vec<String>,
    /// Heard and not told yet.
    new: Vec<String>,
    /// Fails at this word.
    stumbles: Option<String>,
    snapshots: u32,
}

struct Book(Arc<Mutex<Words>>);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Module for Book {
    fn name(&self) -> &'static str {
        "book"
    }

    fn enter(&mut self, _: &Now) {}

    fn snapshot(&mut self) -> Option<Vec<u8>> {
        let mut words = self.0.lock().unwrap();
        words.new.clear();
        words.snapshots += 1;
        Some(words.words.join(" ").into_bytes())
    }

    fn difference(&mut self) -> Option<Vec<u8>> {
        let new = std::mem::take(&mut self.0.lock().unwrap().new);
        (!new.is_empty()).then(|| new.join(" ").into_bytes())
    }

    fn apply(&mut self, state: State<'_>) -> Result<(), String> {
        let mut words = self.0.lock().unwrap();
        let (State::Snapshot(bytes) | State::Difference(bytes)) = state;
        let said = text(bytes);
        if words.stumbles.as_deref().is_some_and(|word| said.contains(word)) {
            return Err("it stumbles".to_owned());
        }
        if let State::Snapshot(_) = state {
            words.words.clear();
        }
        words.words.extend(said.split_whitespace().map(str::to_owned));
        Ok(())
    }

    fn execute(&mut self, operation: &[u8]) -> Result<(), String> {
        let mut words = self.0.lock().unwrap();
        let word = text(operation);
        if words.stumbles.as_deref() == Some(&word) {
            return Err("it stumbles".to_owned());
        }
        words.words.push(word);
        Ok(())
    }
}

struct Side {
    bench: Bench,
    book: Arc<Mutex<Words>>,
    context: Context,
}

impl Side {
    fn new() -> Side {
        let bench = Bench::new(Level::Cold, &json!({}));
        let room = bench.room();
        let (book, context) = (Arc::<Mutex<Words>>::default(), room.context("book"));
        bench.run(room, vec![Box::new(Book(Arc::clone(&book)))]);
        Side { bench, book, context }
    }

    /// The active node and its standby.
    async fn two() -> (Side, Side) {
        let (a, b) = (Side::new(), Side::new());
        a.bench.has_standby(&b.bench);
        a.bench.permit(1);
        a.bench.settles().await;
        (a, b)
    }

    fn hears(&self, word: &str) {
        let mut book = self.book.lock().unwrap();
        book.words.push(word.to_owned());
        book.new.push(word.to_owned());
    }

    async fn says(&self, word: &str) -> Result<u8, Failure> {
        self.context.execute(word.as_bytes().to_vec()).await
    }

    fn words(&self) -> String {
        self.book.lock().unwrap().words.join(" ")
    }

    async fn knows(&self, expected: &str) {
        let what = format!("it knows \"{expected}\", not \"{}\"", self.words());
        self.bench.until(&what, |_| self.words() == expected).await;
    }

    fn stumbles(&self, word: Option<&str>) {
        self.book.lock().unwrap().stumbles = word.map(str::to_owned);
    }
}

#[tokio::test]
async fn state_and_operations_reach_the_other_node_in_order() {
    let (a, b) = Side::two().await;
    assert_eq!(a.says("one").await, Ok(2));
    a.hears("two");
    b.knows("one two").await;
    assert_eq!(a.says("three").await, Ok(2));
    b.knows("one two three").await;
    assert_eq!(a.words(), "one two three");
    assert_eq!(b.says("four").await, Err(Failure::Standby));
    // A restarted node, or one after a full transfer, has the same.
    let c = Side::new();
    c.bench.takes_over(&a.bench);
    c.knows("one two three").await;
    c.bench.permit(2);
    c.bench.settles().await;
    assert_eq!(c.says("five").await, Ok(2));
    assert_eq!(c.words(), "one two three five");
}

#[tokio::test]
async fn what_fails_here_is_not_sent() {
    let (a, b) = Side::two().await;
    a.stumbles(Some("bad"));
    let failed = Err(Failure::Rejected { reason: "it stumbles".to_owned() });
    assert_eq!(a.says("bad").await, failed);
    assert!(a.bench.asked().is_empty(), "{:?}", a.bench.asked());
    assert_eq!(a.says("good").await, Ok(2));
    b.knows("good").await;
    assert_eq!(b.bench.reported(), []);
}

#[tokio::test]
async fn what_fails_there_is_reported_and_comes_back_with_the_transfer() {
    let (a, b) = Side::two().await;
    b.stumbles(Some("bad"));
    assert_eq!(a.says("good").await, Ok(2));
    assert_eq!(a.says("bad").await, Ok(2));
    b.bench
        .until("it is reported", |bench| {
            let reported = bench.reported();
            reported.iter().any(|(provider, key, reason)| {
                provider == "book.journal" && key.ends_with("02") && reason == "it stumbles"
            })
        })
        .await;
    // Another entry must not hide the gap.
    assert_eq!(a.says("later").await, Ok(2));
    b.bench.settles().await;
    assert_eq!(b.words(), "good");
    b.stumbles(None);
    b.bench.takes_over(&a.bench);
    b.bench.settles().await;
    b.knows("good bad later").await;
}

#[tokio::test]
async fn what_is_not_recorded_is_set_back() {
    // Without a snapshot in the journal, and with one.
    for count in [0, 3, 257] {
        let (a, b) = Side::two().await;
        for n in 0..count {
            assert_eq!(a.says(&format!("w{n}")).await, Ok(2));
        }
        a.hears("own");
        b.bench.until("b has it", |_| b.words().ends_with("own")).await;
        let before = a.words();
        a.bench.refuses(Some(Answer::NotStored));
        assert_eq!(a.says("lost").await, Err(Failure::NotStored));
        a.knows(&before).await;
        a.bench.refuses(None);
        assert_eq!(a.says("kept").await, Ok(2));
        assert_eq!(a.words(), format!("{before} kept").trim());
        b.knows(&a.words()).await;
    }
}

#[tokio::test]
async fn a_snapshot_takes_the_place_of_many_entries() {
    let (a, b) = Side::two().await;
    for n in 0..600 {
        assert_eq!(a.says(&format!("w{n}")).await, Ok(2));
    }
    b.knows(&a.words()).await;
    let entries = a.bench.kept().keys().filter(|key| key.provider == "book.journal").count();
    assert!(entries <= 257, "{entries} entries");
    assert!(a.book.lock().unwrap().snapshots >= 2);
    let c = Side::new();
    c.bench.takes_over(&a.bench);
    c.knows(&a.words()).await;
    let one_update = |request: &Request| match request {
        Request::Keep { changes } => {
            let mut keys: Vec<_> = changes.iter().map(|change| &change.key).collect();
            keys.sort();
            keys.windows(2).all(|pair| pair[0] != pair[1])
        }
        _ => false,
    };
    assert!(a.bench.asked().iter().all(one_update), "an update changes an item once");
    // What was missed is found by the look at all.
    b.bench.transferred(Kind::Config);
    b.knows(&a.words()).await;
}
