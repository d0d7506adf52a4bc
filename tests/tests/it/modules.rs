//! What modules promise over a takeover: notifications, shelves, acks with a name, warm and cold.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tandem_protocol::alarm::AlarmState;
use tandem_protocol::node::Level;
use tandem_protocol::session::{Operation, Outcome};
use tandem_tests::harness::faults::Faults;
use tandem_tests::harness::project::{ALARM, LEVEL};
use tandem_tests::harness::wait::let_pass;
use tandem_tests::harness::{Node, Operator, Pair, Project, Result, until, web};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_secs(10);

/// A webhook: hears what is posted, and answers only when it is told to.
#[derive(Debug, Clone)]
struct Desk {
    url: String,
    heard: Arc<Mutex<Vec<Value>>>,
    answers: Arc<Mutex<bool>>,
}

impl Desk {
    async fn open() -> Desk {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/desk", listener.local_addr().expect("an address"));
        let desk = Desk { url, heard: Arc::default(), answers: Arc::default() };
        let serving = desk.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        desk
    }

    async fn serve(self, mut stream: TcpStream) -> Option<()> {
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        let told = loop {
            let Ok(n @ 1..) = stream.read(&mut buffer).await else { return None };
            text += &String::from_utf8_lossy(buffer.get(..n)?);
            let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
            if let Ok(told) = serde_json::from_str::<Value>(body) {
                break told;
            }
        };
        let answers = *self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        if answers {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.ok()?;
        } else {
            // Until the other side is gone.
            while let Ok(1..) = stream.read(&mut buffer).await {}
        }
        Some(())
    }

    fn answers(&self) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn heard(&self) -> Vec<Value> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn hears(&self, most: usize) -> Result<Vec<Value>> {
        until("the desk hears", SOON, async || {
            let heard = self.heard();
            if heard.len() >= most { Ok(heard) } else { Err(heard) }
        })
        .await
    }

    /// The small project with a pipeline to this desk, for an alarm of its own.
    fn project(&self, folder: &std::path::Path, delay_ms: u64) -> Result<Project> {
        let small = Project::small(&folder.join("small"))?;
        let more = format!(
            "[[pipelines]]\nname = \"desk\"\nwebhook = \"{}\"\ndelay_ms = {delay_ms}\n\n\
             [[alarms]]\nname = \"Told\"\ntag = \"{LEVEL}\"\nabove = 90.0\npipeline = \"desk\"\n\n\
             [[tags]]\npath = \"Host/Cpu\"\nkind = \"host\"\nitem = \"cpu\"\n",
            self.url
        );
        Project::copy(small.folder(), &folder.join("told"), &more)
    }
}

async fn alarm(node: &Node, name: &str) -> Result<AlarmState> {
    until(&format!("{name} is there"), SOON, async || {
        let reply = node.get("/data/api/v1/alarms").await.map_err(|e| e.to_string())?;
        let states = reply.json().get("items").cloned().unwrap_or_default();
        let states: Vec<AlarmState> = serde_json::from_value(states).map_err(|e| e.to_string())?;
        states.into_iter().find(|state| state.name == name).ok_or_else(|| reply.text())
    })
    .await
}

async fn raised(node: &Node, name: &str) -> Result<AlarmState> {
    until(&format!("{name} is raised"), SOON, async || {
        let state = alarm(node, name).await.map_err(|e| e.to_string())?;
        if state.raised { Ok(state) } else { Err(format!("{state:?}")) }
    })
    .await
}

async fn posts(node: &Node, deed: &str, body: Value) -> Result<u16> {
    let path = format!("/data/api/v1/alarms/{}/{deed}", ALARM.replace(' ', "%20"));
    Ok(web::post(node.base(), &path, &[], &body).await?.status)
}

/// A settled pair whose alarm `Told` has just been raised.
async fn pair_with_a_raise(name: &str, delay_ms: u64) -> Result<(Pair, Desk)> {
    let folder = tempfile::tempdir().expect("a folder");
    let desk = Desk::open().await;
    let project = desk.project(folder.path(), delay_ms)?;
    let pair = Pair::named(name).project(project).start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut operator = Operator::at(pair.master().base()).await?;
    assert_eq!(operator.writes(LEVEL, 95.0).await?, (Outcome::Applied, 2));
    raised(pair.master(), "Told").await?;
    Ok((pair, desk))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_is_sent_at_least_once_over_a_kill() -> Result {
    let name = "a_notification_is_sent_at_least_once_over_a_kill";
    let (pair, desk) = pair_with_a_raise(name, 0).await?;
    let first = desk.hears(1).await?;
    // Heard and not answered: the intent is there, the done mark is not.
    pair.master().kill().await?;
    desk.answers();
    pair.backup().becomes_active().await?;
    let both = desk.hears(2).await?;
    let facts = |told: &Value| {
        let fact = |key: &str| told.get(key).cloned().unwrap_or_default();
        (fact("alarm"), fact("value"), fact("node"), fact("possible_repeat"))
    };
    let sent = |node: &str, repeat: bool| (json!("Told"), json!(95.0), json!(node), json!(repeat));
    assert_eq!(facts(&first[0]), sent("a", false));
    assert_eq!(facts(&both[1]), sent("b", true));
    assert_eq!(both[0]["id"], both[1]["id"]);
    assert_eq!(both[0]["time"], both[1]["time"]);
    assert_eq!(both[1]["term"]["node"], json!("b"));
    // What was confirmed is not sent again.
    let_pass(Duration::from_secs(1)).await;
    assert_eq!(desk.heard().len(), 2, "{:?}", desk.heard());
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_in_its_delay_outlives_its_node() -> Result {
    let name = "a_notification_in_its_delay_outlives_its_node";
    let (pair, desk) = pair_with_a_raise(name, 3_000).await?;
    desk.answers();
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    let heard = desk.hears(1).await?;
    assert_eq!(heard[0]["node"], json!("b"));
    assert_eq!(heard.len(), 1);
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shelves_and_acks_with_a_name_survive_a_takeover() -> Result {
    let pair = Pair::named("shelves_and_acks_with_a_name_survive_a_takeover").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let mut operator = Operator::at(pair.master().base()).await?;
    operator.writes(LEVEL, 95.0).await?;
    let raise = raised(pair.master(), ALARM).await?.raise;
    let (who, note) = (Some("Kim".to_owned()), Some("on my way".to_owned()));
    let ack = Operation::Ack { alarm: ALARM.to_owned(), raise, who, note };
    assert_eq!(operator.does(ack).await?, (Outcome::Applied, 2));
    let shelve = json!({"seconds": 600, "who": "Robin", "note": "the sensor is being changed"});
    assert_eq!(posts(pair.master(), "shelve", shelve).await?, 200);
    let before = alarm(pair.master(), ALARM).await?;
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    let after = alarm(pair.backup(), ALARM).await?;
    assert_eq!(after, before);
    let acked = (after.acked, after.acked_by.as_deref(), after.note.as_deref());
    assert_eq!(acked, (true, Some("Kim"), Some("on my way")));
    let shelf = after.shelved.expect("a shelf");
    assert_eq!(shelf.by.as_deref(), Some("Robin"));
    assert_eq!(shelf.note.as_deref(), Some("the sensor is being changed"));
    // The clients hear the same when they come back, and the shelf ends here by hand or time.
    operator.resumes_at(pair.backup().base()).await?;
    let told = operator.bound.alarms.iter().find(|alarm| alarm.name == ALARM);
    assert!(told.is_some_and(|alarm| alarm.shelved.is_some()), "{told:?}");
    assert_eq!(posts(pair.backup(), "unshelve", json!({})).await?, 200);
    assert_eq!(alarm(pair.backup(), ALARM).await?.shelved, None);
    assert_eq!(posts(pair.backup(), "shelve", json!({"seconds": 1})).await?, 200);
    until("the shelf ends by its time", SOON, async || {
        let state = alarm(pair.backup(), ALARM).await.map_err(|e| e.to_string())?;
        if state.shelved.is_none() { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await?;
    let wrong = posts(pair.backup(), "shelve", json!({"seconds": 1, "who": ""})).await?;
    assert_eq!(wrong, 400);
    assert_eq!(posts(pair.backup(), "burn", json!({})).await?, 404);
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_standby_waits_without_effect() -> Result {
    let folder = tempfile::tempdir().expect("a folder");
    let desk = Desk::open().await;
    desk.answers();
    let project = desk.project(folder.path(), 0)?;
    let pair = Pair::named("a_warm_standby_waits_without_effect")
        .project(project)
        .shared("standby_activity_level = \"Warm\"")
        .start()
        .await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let waits = pair.backup().status().await?;
    assert_eq!(waits.level, Level::Warm);
    let mut operator = Operator::at(pair.master().base()).await?;
    operator.writes(LEVEL, 95.0).await?;
    let told = desk.hears(1).await?;
    assert_eq!(told[0]["node"], json!("a"));
    pair.master().kill().await?;
    pair.backup().becomes_active().await?;
    let state = raised(pair.backup(), "Told").await?;
    assert_eq!(state.raise, 1, "what was computed beside the active node raised nothing");
    let_pass(Duration::from_millis(500)).await;
    assert_eq!(desk.heard().len(), 1, "{:?}", desk.heard());
    pair.ends(&[]).await
}

/// A gateway's clock is set while somebody waits to be told: two days on, and an hour back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_over_a_clock_that_steps() -> Result {
    for (step, seconds) in [("on", 2 * 86_400), ("back", -3_600)] {
        let folder = tempfile::tempdir().expect("a folder");
        let desk = Desk::open().await;
        desk.answers();
        let project = desk.project(folder.path(), 1_500)?;
        let name = format!("a_notification_over_a_clock_that_steps_{step}");
        let pair = Pair::named(&name).project(project).join_wait_ms(500).build()?;
        let faults = Faults::under(pair.master())?;
        pair.master().start().await?;
        pair.master().becomes_active().await?;
        let mut operator = Operator::at(pair.master().base()).await?;
        assert_eq!(operator.writes(LEVEL, 95.0).await?.0, Outcome::Applied);
        raised(pair.master(), "Told").await?;
        faults.step_clock(seconds)?;
        desk.hears(1).await?;
        pair.ends(&[]).await?;
    }
    Ok(())
}
