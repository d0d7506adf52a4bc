//! A crowd: many sessions of the SDK straight at the nodes, which move all at once, and which
//! write meanwhile, one after the other.
//!
//! ```text
//!   check  --Ask, a line of JSON-->  cargo xtask crowd: the sessions  => nodes
//!          <--Answer---------------
//! ```
//!
//! It is a process of its own, as each of its clients would be a machine of its own: the clients
//! that are looked at must not stand in one queue with the load.

mod members;

use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use super::client::Tally;
use super::fault::Fault;
use super::plant::Counted;
use crate::outcome::{Failure, Outcome};
pub(crate) use members::{Place, run};

/// Its name in tags.
pub(crate) const NAME: &str = "crowd";
/// All of a crowd are there within this time.
const ENTER_MAX: Duration = Duration::from_secs(60);
/// An answer comes so long after its deadline at the latest.
const SPARE: Duration = Duration::from_secs(5);

/// What the crowd is asked, one at a time.
#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    /// To write under this fault's names from now on, or not at all.
    Write(Option<Fault>),
    /// To wait until all are bound at this node.
    At { node: String, within: Duration },
    /// What became of the writes of this phase, once all are answered.
    Done { fault: Fault, within: Duration },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// All sessions are bound.
    Entered,
    /// It writes, or does not.
    Writes,
    /// When each session was bound there, on the machine's monotonic clock in microseconds.
    Bound(Vec<u64>),
    /// The books of a phase.
    Done(Done),
    /// It cannot do what was asked.
    Failed(String),
}

/// What became of the writes of a phase, and how many sessions were opened anew in it.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Done {
    issued: u64,
    applied: u64,
    unknown: u64,
    expired: u64,
    rejected: u64,
    anew: u64,
}

impl Done {
    fn open(&self) -> u64 {
        self.issued - self.applied - self.unknown - self.expired - self.rejected
    }
}

/// The sessions, in their process.
pub(crate) struct Crowd {
    size: usize,
    line: Mutex<Line>,
}

struct Line {
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// It ends with this handle.
    _process: Child,
}

impl Crowd {
    /// Opens so many sessions and waits until all are bound.
    pub(crate) async fn enter(size: usize, nodes: &[String]) -> Outcome<Crowd> {
        let failed = || Failure::io("start the crowd");
        let mut command = Command::new(std::env::current_exe().map_err(failed())?);
        command.arg("crowd").arg(size.to_string()).args(nodes).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(failed())?;
        let (Some(asks), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Failure::Verdict("the crowd has no pipes".to_owned()));
        };
        let answers = BufReader::new(answers).lines();
        let mut line = Line { asks, answers, _process: process };
        match line.answer(ENTER_MAX).await? {
            Answer::Entered => Ok(Crowd { size, line: Mutex::new(line) }),
            other => Err(strange(&other)),
        }
    }

    /// How many there are.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Says what to write from now on.
    pub(crate) async fn writes(&self, fault: Option<Fault>) -> Outcome {
        match self.ask(&Ask::Write(fault), Duration::ZERO).await? {
            Answer::Writes => Ok(()),
            other => Err(strange(&other)),
        }
    }

    /// Waits until all are bound at this node; gives when each of them was, as [`Moment`]s.
    pub(crate) async fn all_at(&self, node: &str, within: Duration) -> Outcome<Vec<Moment>> {
        let ask = Ask::At { node: node.to_owned(), within };
        match self.ask(&ask, within).await? {
            Answer::Bound(bound) => Ok(bound.into_iter().map(Moment).collect()),
            other => Err(strange(&other)),
        }
    }

    /// The books of a phase against what the active node has; and how many sessions were opened
    /// anew in it. Waits so long for outcomes.
    pub(crate) async fn tally(
        &self,
        fault: Fault,
        within: Duration,
        counted: impl AsyncFnOnce() -> Outcome<Counted>,
    ) -> Outcome<(Tally, u64)> {
        let done = match self.ask(&Ask::Done { fault, within }, within).await? {
            Answer::Done(done) => done,
            other => return Err(strange(&other)),
        };
        let counted = counted().await?;
        let tally = Tally {
            writes: done.issued,
            lost: done.applied.saturating_sub(counted.writes) + done.open(),
            doubled: counted.writes.saturating_sub(done.applied + done.unknown),
            unknown: done.unknown,
            expired: done.expired,
            rejected: done.rejected,
        };
        Ok((tally, done.anew))
    }

    async fn ask(&self, ask: &Ask, within: Duration) -> Outcome<Answer> {
        let mut line = self.line.lock().await;
        let text = serde_json::to_string(ask).unwrap_or_default() + "\n";
        line.asks.write_all(text.as_bytes()).await.map_err(Failure::io("ask the crowd"))?;
        line.answer(within + SPARE).await
    }
}

impl Line {
    async fn answer(&mut self, within: Duration) -> Outcome<Answer> {
        let line = tokio::time::timeout(within, self.answers.next_line()).await;
        let line = line.map_err(|_| Failure::Verdict("the crowd does not answer".to_owned()))?;
        let line = line.map_err(Failure::io("hear the crowd"))?;
        let line = line.ok_or_else(|| Failure::Verdict("the crowd has ended".to_owned()))?;
        serde_json::from_str(&line).map_err(|e| Failure::Verdict(format!("the crowd: {e}")))
    }
}

fn strange(answer: &Answer) -> Failure {
    Failure::Verdict(match answer {
        Answer::Failed(why) => format!("the crowd: {why}"),
        other => format!("the crowd answers {other:?}"),
    })
}

/// A time on the machine's monotonic clock, which all processes share; in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Moment {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let of = |part: i64| u64::try_from(part).unwrap_or_default();
        Moment(of(now.tv_sec) * 1_000_000 + of(now.tv_nsec) / 1_000)
    }

    /// Milliseconds from an earlier moment to this one.
    pub(crate) fn ms_since(self, earlier: Moment) -> f64 {
        Duration::from_micros(self.0.saturating_sub(earlier.0)).as_secs_f64() * 1000.0
    }
}
