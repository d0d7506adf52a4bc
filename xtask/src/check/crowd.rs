//! A crowd: many sessions of the SDK straight at the nodes, which move all at once, and which
//! write meanwhile, one after the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tandem_client::{Events, Options, Session, SessionEvent};
use tandem_protocol::session::Outcome as Became;
use tandem_protocol::tag::TagValue;
use tandem_tests::harness::until;
use tokio::sync::watch;
use tokio::time::Instant;

use super::client::Tally;
use super::fault::Fault;
use super::plant::{self, Counted, SLOW};
use crate::outcome::{Failure, Outcome};

/// Its name in tags.
pub(crate) const NAME: &str = "crowd";
/// All of a crowd are there within this time.
const ENTER_MAX: Duration = Duration::from_secs(60);
/// One session after the other writes, at this distance.
const WRITES_EVERY: Duration = Duration::from_millis(10);

/// The sessions.
pub(crate) struct Crowd {
    books: Arc<Books>,
    phase: watch::Sender<Option<Fault>>,
}

struct Books {
    /// Where each session was bound last, and when.
    places: Mutex<Vec<Option<(String, Instant)>>>,
    done: Mutex<BTreeMap<Fault, Done>>,
}

#[derive(Debug, Default, Clone)]
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

impl Crowd {
    /// Opens so many sessions and waits until all are bound.
    pub(crate) async fn enter(size: usize, addresses: &[String]) -> Outcome<Crowd> {
        let books = Books { places: Mutex::new(vec![None; size]), done: Mutex::default() };
        let books = Arc::new(books);
        let (phase, seen) = watch::channel(None);
        let mut sessions = Vec::with_capacity(size);
        for place in 0..size {
            let options = Options::new(addresses.to_vec(), "plant", "overview");
            let options = Options { fixed: true, ..options };
            let (session, events) = Session::open(options).map_err(failed)?;
            session.subscribe([SLOW]).await.map_err(failed)?;
            tokio::spawn(follow(Arc::clone(&books), place, events, seen.clone()));
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
        Ok(Crowd { books, phase })
    }

    /// How many there are.
    pub(crate) fn size(&self) -> usize {
        self.books.places().len()
    }

    /// Says what to write from now on.
    pub(crate) fn writes(&self, fault: Option<Fault>) {
        self.phase.send_replace(fault);
    }

    /// Waits until all are bound at this node; gives when the last one was.
    pub(crate) async fn all_at(&self, node: &str, within: Duration) -> Outcome<Option<Instant>> {
        let what = format!("the crowd is at node {node}");
        let all = until(&what, within, async || {
            let places = self.books.places();
            let there = places.iter().flatten().filter(|(at, _)| at == node);
            match places.len() - there.clone().count() {
                0 => Ok(there.map(|(_, when)| *when).max()),
                left => Err(format!("{left} are not")),
            }
        });
        Ok(all.await?)
    }

    /// Waits until no write of this phase is without an outcome.
    pub(crate) async fn all_answered(&self, fault: Fault, within: Duration) {
        let _ = until("all outcomes of the crowd", within, async || {
            match self.books.of(fault).open() {
                0 => Ok(()),
                left => Err(left),
            }
        })
        .await;
    }

    /// The books of a phase against what the active node has; and how many sessions were opened
    /// anew in it.
    pub(crate) fn tally(&self, fault: Fault, counted: &Counted) -> (Tally, u64) {
        let done = self.books.of(fault);
        let tally = Tally {
            writes: done.issued,
            lost: done.applied.saturating_sub(counted.writes) + done.open(),
            doubled: counted.writes.saturating_sub(done.applied + done.unknown),
            unknown: done.unknown,
            expired: done.expired,
            rejected: done.rejected,
        };
        (tally, done.anew)
    }
}

impl Books {
    fn places(&self) -> MutexGuard<'_, Vec<Option<(String, Instant)>>> {
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
    place: usize,
    mut events: Events,
    phase: watch::Receiver<Option<Fault>>,
) {
    while let Some(event) = events.next().await {
        if let SessionEvent::State { status, .. } = &event {
            let bound = (status.node.to_string(), Instant::now());
            if let Some(place) = books.places().get_mut(place) {
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
