//! Inside the crowd's process: its sessions, their books, and the answers to what is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tandem_client::{Events, Options, Session, SessionEvent};
use tandem_protocol::session::Outcome as Became;
use tandem_protocol::tag::TagValue;
use tandem_tests::harness::until;
use tokio::sync::watch;

use super::{Answer, Ask, Done, ENTER_MAX, Moment, NAME};
use crate::check::fault::Fault;
use crate::check::plant::{self, SLOW};
use crate::outcome::{Failure, Outcome};
use crate::pair;

/// One session after the other writes, at this distance.
const WRITES_EVERY: Duration = Duration::from_millis(10);

/// Where a crowd goes.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// How many sessions
    size: usize,
    /// The nodes' addresses
    nodes: Vec<String>,
}

/// Opens the sessions, then does what standard input asks until that ends.
pub(crate) fn run(place: &Place) -> Outcome {
    let runtime = pair::runtime()?;
    let members = runtime.block_on(Members::enter(place))?;
    say(&Answer::Entered);
    for line in std::io::stdin().lines() {
        let line = line.map_err(Failure::io("hear the check"))?;
        let answer = match serde_json::from_str(&line) {
            Ok(ask) => runtime.block_on(members.answer(ask)),
            Err(error) => Answer::Failed(error.to_string()),
        };
        say(&answer);
    }
    Ok(())
}

fn say(answer: &Answer) {
    println!("{}", serde_json::to_string(answer).unwrap_or_default());
}

struct Members {
    books: Arc<Books>,
    phase: watch::Sender<Option<Fault>>,
}

struct Books {
    /// Where each session was bound last, and when.
    places: Mutex<Vec<Option<(String, Moment)>>>,
    done: Mutex<BTreeMap<Fault, Done>>,
}

impl Members {
    async fn enter(place: &Place) -> Outcome<Members> {
        let size = place.size;
        let books = Books { places: Mutex::new(vec![None; size]), done: Mutex::default() };
        let books = Arc::new(books);
        let (phase, seen) = watch::channel(None);
        let mut sessions = Vec::with_capacity(size);
        for member in 0..size {
            let options = Options::new(place.nodes.clone(), "plant", "overview");
            let options = Options { fixed: true, ..options };
            let (session, events) = Session::open(options).map_err(failed)?;
            session.subscribe([SLOW]).await.map_err(failed)?;
            tokio::spawn(follow(Arc::clone(&books), member, events, seen.clone()));
            sessions.push(session);
        }
        until("all sessions of the crowd are bound", ENTER_MAX, async || {
            match books.places().iter().filter(|place| place.is_none()).count() {
                0 => Ok(()),
                left => Err(left),
            }
        })
        .await?;
        tokio::spawn(write(Arc::clone(&books), sessions, seen));
        Ok(Members { books, phase })
    }

    async fn answer(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Write(fault) => {
                self.phase.send_replace(fault);
                Answer::Writes
            }
            Ask::At { node, within } => self.all_at(&node, within).await,
            Ask::Done { fault, within } => {
                // What is open by then is counted as lost.
                let _ = until("all outcomes of the crowd", within, async || {
                    match self.books.of(fault).open() {
                        0 => Ok(()),
                        left => Err(left),
                    }
                })
                .await;
                Answer::Done(self.books.of(fault))
            }
        }
    }

    async fn all_at(&self, node: &str, within: Duration) -> Answer {
        let what = format!("the crowd is at node {node}");
        let all = until(&what, within, async || {
            let places = self.books.places();
            let there = places.iter().flatten().filter(|(at, _)| at == node);
            let bound: Vec<u64> = there.map(|(_, when)| when.0).collect();
            match places.len() - bound.len() {
                0 => Ok(bound),
                left => Err(format!("{left} are not")),
            }
        });
        all.await.map_or_else(|late| Answer::Failed(late.to_string()), Answer::Bound)
    }
}

impl Books {
    fn places(&self) -> MutexGuard<'_, Vec<Option<(String, Moment)>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, fault: Fault, note: impl FnOnce(&mut Done)) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        note(done.entry(fault).or_default());
    }

    fn of(&self, fault: Fault) -> Done {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.get(&fault).cloned().unwrap_or_default()
    }
}

async fn follow(
    books: Arc<Books>,
    member: usize,
    mut events: Events,
    phase: watch::Receiver<Option<Fault>>,
) {
    while let Some(event) = events.next().await {
        if let SessionEvent::State { status, .. } = &event {
            let bound = (status.node.to_string(), Moment::now());
            if let Some(place) = books.places().get_mut(member) {
                *place = Some(bound);
            }
        }
        let anew = matches!(event, SessionEvent::Resumed { anew: true, .. });
        let phase = *phase.borrow();
        if let Some(fault) = phase.filter(|_| anew) {
            books.note(fault, |done| done.anew += 1);
        }
    }
}

async fn write(books: Arc<Books>, sessions: Vec<Session>, phase: watch::Receiver<Option<Fault>>) {
    let mut ticks = tokio::time::interval(WRITES_EVERY);
    for session in sessions.iter().cycle() {
        ticks.tick().await;
        if phase.has_changed().is_err() {
            return;
        }
        let Some(fault) = *phase.borrow() else { continue };
        let tag = plant::writes_tag(fault, NAME);
        let Ok(pending) = session.write(&tag, TagValue::Int(1)).await else { continue };
        books.note(fault, |done| done.issued += 1);
        let books = Arc::clone(&books);
        tokio::spawn(async move {
            let Ok(told) = pending.await else { return };
            books.note(fault, |done| match told.outcome {
                Became::Applied => done.applied += 1,
                Became::Unknown => done.unknown += 1,
                Became::Expired => done.expired += 1,
                Became::Rejected { .. } => done.rejected += 1,
            });
        });
    }
}

fn failed(why: tandem_client::Error) -> Failure {
    Failure::Verdict(format!("a session of the crowd: {why}"))
}
