//! Records and config as a module author meets them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::json;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::Kind;
use tandem_protocol::node::Level;
use tandem_protocol::settings::{HistoryLevel, SharedSettings};

use super::bench::Bench;
use crate::modules::{Failure, Module, Now, RecordChange, Records, Stage};

#[tokio::test]
async fn records_are_put_listed_followed_and_deleted() {
    let (a, b) = (Bench::new(Level::Cold, &json!({})), Bench::new(Level::Cold, &json!({})));
    a.has_standby(&b);
    let records: Records<u64> = a.room().context("mine").records();
    let there: Records<u64> = b.room().context("mine").records();
    let other: Records<u64> = b.room().context("mine2").records();
    let mut changes = there.subscribe();
    assert_eq!(records.put("x", &7).await, Err(Failure::Standby), "no permit, no record");
    a.permit(1);
    assert_eq!(records.put("x", &7).await, Ok(2));
    assert_eq!(records.change([("x".to_owned(), None), ("y".to_owned(), Some(&9))]).await, Ok(2));
    assert_eq!(there.get("x"), None);
    assert_eq!(there.get("y"), Some(9));
    assert_eq!(there.list(), [("y".to_owned(), 9)]);
    assert!(other.list().is_empty(), "each provider has its own");
    let (x, y) = ("x".to_owned(), "y".to_owned());
    let expected = [
        RecordChange::Put { key: x.clone(), record: 7 },
        RecordChange::Deleted { key: x },
        RecordChange::Put { key: y, record: 9 },
    ];
    for change in expected {
        assert_eq!(changes.next().await, Some(change));
    }
    b.takes_over(&a);
    assert_eq!(changes.next().await, Some(RecordChange::Reloaded));
    a.refuses(Some(Answer::NotStored));
    assert_eq!(records.delete("y").await, Err(Failure::NotStored));
    assert_eq!(there.put("y", &1).await, Err(Failure::Standby));
    let long: Records<Vec<u64>> = a.room().context("long").records();
    let failure = long.put("x", &vec![u64::MAX; 300_000]).await;
    assert!(matches!(failure, Err(Failure::Rejected { .. })), "{failure:?}");
}

/// Remembers what it was told.
struct Ear {
    heard: Arc<Mutex<Vec<String>>>,
}

impl Module for Ear {
    fn name(&self) -> &'static str {
        "ear"
    }

    fn enter(&mut self, now: &Now) {
        let stage = if now.stage.is_active() { "active" } else { "standby" };
        assert!(matches!(now.stage, Stage::Cold | Stage::Active { .. }));
        self.heard.lock().unwrap().push(format!("{stage} {:?}", now.history));
    }

    fn configure(&mut self, key: &str, body: Option<&Bytes>) -> Result<(), String> {
        let body = body.map(|body| String::from_utf8_lossy(body).into_owned());
        self.heard.lock().unwrap().push(format!("{key} {body:?}"));
        if body.as_deref() == Some("wrong") { Err("this is wrong".to_owned()) } else { Ok(()) }
    }
}

#[tokio::test]
async fn a_module_hears_of_its_config_and_of_what_is_in_force() {
    let bench = Bench::new(Level::Cold, &json!({}));
    bench.configure(&[("ear", "first", "1")]);
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    bench.run(bench.room(), vec![Box::new(Ear { heard: Arc::clone(&heard) })]);
    let takes = async |most: usize| {
        bench.until("it has heard", |_| heard.lock().unwrap().len() >= most).await;
        bench.settles().await;
        std::mem::take(&mut *heard.lock().unwrap())
    };
    assert_eq!(takes(2).await, ["first Some(\"1\")", "standby Full"]);
    let partial =
        SharedSettings { history_level: HistoryLevel::Partial, ..SharedSettings::default() };
    bench.stage.settings(&partial);
    assert_eq!(takes(1).await, ["standby Partial"]);
    bench.permit(1);
    assert_eq!(takes(1).await, ["active Partial"]);
    bench.configure(&[("ears", "x", "1"), ("ear", "second", "wrong"), ("ear", "third", "3")]);
    assert_eq!(takes(2).await, ["second Some(\"wrong\")", "third Some(\"3\")"]);
    let report = ("ear".to_owned(), "second".to_owned(), "this is wrong".to_owned());
    assert_eq!(bench.reported(), [report]);
    // The full transfer that follows brings it again, and nothing that it has already; the module
    // starts anew.
    bench.configure(&[("ear", "second", "2")]);
    bench.transferred(Kind::Config);
    assert_eq!(takes(3).await, ["second Some(\"2\")", "standby Partial", "active Partial"]);
    assert_eq!(bench.reported(), []);
    bench.stage.withdraw();
    bench.stage.status(crate::driver::testing::status(Level::Cold));
    assert_eq!(takes(1).await, ["standby Partial"]);
}
