//! Operators at both sides of a cut, and what became of all that was answered to them.
//!
//! Each writes to items of its own side and to items of both, and acks an alarm of its own and
//! one of both. After the heal: a value that was answered is in the live state or named in the
//! divergence report, an ack that was answered stands, and each counting tag has each id once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tandem_protocol::session::{Operation, Outcome as Became};
use tandem_protocol::tag::TagValue;
use tandem_tests::harness::{Node, Operator, until, web};
use tokio::time::{Instant, sleep, timeout_at};

use super::fault::Fault;
use super::plant::{self, alarm, level_tag, setpoint_tag, writes_tag};
use super::round::wall_ms;
use crate::outcome::{Failure, Outcome};
use crate::spread::Spread;

/// What both sides work on, by its name in tags.
const BOTH: &str = "both";
/// The names of all that is worked on in a cut.
pub(crate) const NAMES: [&str; 3] = ["side-a", "side-b", BOTH];
/// The page of the demo project that they are at.
const PAGE: &str = "overview";
/// Between two turns of an operator.
const EVERY: Duration = Duration::from_millis(50);
/// An alarm follows its tag within this time.
const ALARM_MAX: Duration = Duration::from_secs(5);

/// What one operator was answered in one cut.
#[derive(Debug, Default)]
pub(super) struct Work {
    name: String,
    /// Applied writes to each counting tag.
    counted: BTreeMap<String, u64>,
    /// Writes without a sure answer to each counting tag.
    open: BTreeMap<String, u64>,
    /// The last value of each setpoint that was answered as applied, and how many were.
    setpoints: BTreeMap<String, (i64, u64)>,
    /// Setpoints whose last write has no answer.
    unsure: BTreeMap<String, i64>,
    /// Acks answered as applied: alarm and raise.
    acks: Vec<(String, u64)>,
    /// How it ended, where it ended early.
    ended: Option<String>,
}

/// The books over all rounds.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Told {
    /// Writes answered as applied.
    pub(crate) writes: u64,
    /// Of the last values answered: in the live state.
    pub(crate) in_state: u64,
    /// Of the last values answered: named in the divergence report.
    pub(crate) in_report: u64,
    /// Answered, and neither there nor named.
    pub(crate) lost: u64,
    /// Counted more often than sent.
    pub(crate) doubled: u64,
    /// Acks answered as applied.
    pub(crate) acks: u64,
    /// Of them: undone.
    pub(crate) acks_lost: u64,
    /// From the heal to one active and the other in sync, in milliseconds.
    pub(crate) settled_ms: Spread,
    /// What is not as it must be, in words.
    pub(crate) wrong: Vec<String>,
}

/// All cuts of a phase.
#[derive(Debug, Default)]
pub(super) struct Sides {
    told: Told,
    counted: BTreeMap<String, u64>,
    open: BTreeMap<String, u64>,
    settled_ms: Vec<f64>,
}

/// Works at one node until the end of the cut.
pub(super) async fn works(node: &Node, raise: u64, end: Instant) -> Work {
    let mut work = Work { name: format!("side-{}", node.id()), ..Work::default() };
    if let Ok(Err(e)) = timeout_at(end, work.runs(node, raise)).await {
        work.ended = Some(format!("{}: {e}", work.name));
    }
    work
}

impl Work {
    async fn runs(&mut self, node: &Node, raise: u64) -> Outcome {
        let name = self.name.clone();
        let mut operator = Operator::at_page(node.base(), PAGE).await?;
        set(&mut operator, &level_tag(&name), 100).await?;
        let mut to_ack = vec![(alarm(BOTH), raise)];
        let own = raised(node, &name).await?;
        to_ack.push((alarm(&name), own));
        loop {
            if let Some((alarm, raise)) = to_ack.pop() {
                let (became, _) = operator.acks(&alarm, raise).await?;
                if became == Became::Applied {
                    self.acks.push((alarm, raise));
                }
            }
            for whom in [name.as_str(), BOTH] {
                self.counts(&mut operator, whom).await?;
                self.sets(&mut operator, whom).await?;
            }
            sleep(EVERY).await;
        }
    }

    async fn counts(&mut self, operator: &mut Operator, whom: &str) -> Outcome {
        let tag = writes_tag(Fault::Cut, whom);
        *self.open.entry(tag.clone()).or_default() += 1;
        let became = set(operator, &tag, 1).await?;
        if became != Became::Unknown {
            *self.open.entry(tag.clone()).or_default() -= 1;
        }
        if became == Became::Applied {
            *self.counted.entry(tag).or_default() += 1;
        }
        Ok(())
    }

    async fn sets(&mut self, operator: &mut Operator, whom: &str) -> Outcome {
        let tag = setpoint_tag(Fault::Cut, whom);
        let value = i64::try_from(wall_ms()).unwrap_or(i64::MAX);
        self.unsure.insert(tag.clone(), value);
        let became = set(operator, &tag, value).await?;
        if became != Became::Unknown {
            self.unsure.remove(&tag);
        }
        if became == Became::Applied {
            let last = self.setpoints.entry(tag).or_default();
            *last = (value, last.1 + 1);
        }
        Ok(())
    }
}

impl Sides {
    /// Raises the alarm of both sides before the cut; gives its raise.
    pub(super) async fn raise(&self, active: &Node) -> Outcome<u64> {
        let mut operator = Operator::at_page(active.base(), PAGE).await?;
        for name in NAMES {
            set(&mut operator, &level_tag(name), 0).await?;
        }
        for name in NAMES {
            until("the alarms of the cut are over", ALARM_MAX, async || {
                match alarm_of(active, name).await {
                    Some(state) if state["raised"] == false => Ok(()),
                    state => Err(format!("{state:?}")),
                }
            })
            .await?;
        }
        set(&mut operator, &level_tag(BOTH), 100).await?;
        raised(active, BOTH).await
    }

    /// After the heal: is all that was answered there?
    pub(super) async fn judge(
        &mut self,
        active: &Node,
        since: u64,
        settled: Duration,
        works: [Work; 2],
    ) -> Outcome {
        self.settled_ms.push(settled.as_secs_f64() * 1000.0);
        let reports = active.get("/data/api/v1/redundancy/reports").await?.json();
        for work in &works {
            self.told.wrong.extend(work.ended.clone());
            for (tag, n) in &work.counted {
                *self.counted.entry(tag.clone()).or_default() += n;
                self.told.writes += n;
            }
            for (tag, n) in &work.open {
                *self.open.entry(tag.clone()).or_default() += n;
            }
        }
        for work in &works {
            for (tag, (last, writes)) in &work.setpoints {
                self.told.writes += writes;
                let now = plant::value(active, tag).await?.as_ref().and_then(plant::whole);
                let unsure = works.iter().any(|work| work.unsure.get(tag).copied() == now);
                self.place(&work.name, tag, *last, now, unsure, named(&reports, since, tag, *last));
            }
            for (alarm, raise) in &work.acks {
                self.told.acks += 1;
                let state = find(&active.get("/data/api/v1/alarms").await?.json(), alarm);
                let now = state["raise"].as_u64().unwrap_or(0);
                if now < *raise || (now == *raise && state["acked"] != true) {
                    self.told.acks_lost += 1;
                    let name = &work.name;
                    self.wrong(format!("{name}: the ack of {alarm} #{raise} is undone: {state}"));
                }
            }
        }
        Ok(())
    }

    fn place(
        &mut self,
        who: &str,
        tag: &str,
        last: i64,
        now: Option<i64>,
        unsure: bool,
        named: bool,
    ) {
        if now == Some(last) || unsure {
            self.told.in_state += 1;
        } else if named {
            self.told.in_report += 1;
        } else {
            self.told.lost += 1;
            self.wrong(format!("{who}: {last} at {tag} is neither in force ({now:?}) nor named"));
        }
    }

    fn wrong(&mut self, what: String) {
        if self.told.wrong.len() < 10 {
            self.told.wrong.push(what);
        }
    }

    /// The books, with the counting tags as the active node has them.
    pub(super) async fn close(mut self, active: &Node) -> Outcome<Told> {
        for (tag, applied) in std::mem::take(&mut self.counted) {
            let open = self.open.get(&tag).copied().unwrap_or(0);
            let now = plant::value(active, &tag).await?.as_ref().and_then(plant::whole);
            let now = now.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            let (lost, doubled) = (applied.saturating_sub(now), now.saturating_sub(applied + open));
            if lost + doubled > 0 {
                self.wrong(format!("{tag}: {now} counted, {applied} answered, {open} open"));
            }
            self.told.lost += lost;
            self.told.doubled += doubled;
        }
        self.told.settled_ms = Spread::of(self.settled_ms);
        Ok(self.told)
    }
}

/// Writes a whole number. A refusal is an error: all that is written here fits its tag.
async fn set(operator: &mut Operator, tag: &str, value: i64) -> Outcome<Became> {
    let (tag, value) = (tag.to_owned(), TagValue::Int(value));
    let what = format!("a write to {tag}");
    let (became, _) = operator.does(Operation::Write { tag, value }).await?;
    if let Became::Rejected { reason } = became {
        return Err(Failure::Verdict(format!("{what} is refused: {reason}")));
    }
    Ok(became)
}

/// Waits until the alarm of this name is raised and not acked; gives its raise.
async fn raised(node: &Node, name: &str) -> Outcome<u64> {
    let what = format!("{} is raised", alarm(name));
    let raise = until(&what, ALARM_MAX, async || match alarm_of(node, name).await {
        Some(state) if state["raised"] == true && state["acked"] == false => {
            state["raise"].as_u64().ok_or(state.to_string())
        }
        state => Err(format!("{state:?}")),
    });
    Ok(raise.await?)
}

async fn alarm_of(node: &Node, name: &str) -> Option<Value> {
    let alarms = web::get(node.base(), "/data/api/v1/alarms").await.ok()?.json();
    Some(find(&alarms, &alarm(name))).filter(|state| !state.is_null())
}

fn find(alarms: &Value, name: &str) -> Value {
    let items = alarms["items"].as_array().into_iter().flatten();
    items.into_iter().find(|state| state["name"] == name).cloned().unwrap_or_default()
}

/// Whether a divergence report since then names this tag with this value, on either side.
fn named(reports: &Value, since: u64, tag: &str, value: i64) -> bool {
    let items = reports["items"].as_array().into_iter().flatten();
    let new = items.filter(|report| report["at"].as_u64().is_some_and(|at| at >= since));
    let mut replaced = new.flat_map(|report| report["replaced"].as_array().into_iter().flatten());
    replaced.any(|item| {
        let side = |side: &str| item[side]["item"]["value"] == value;
        item["provider"] == "tags" && item["key"] == tag && (side("here") || side("there"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_must_be_in_force_or_named_by_its_value() {
        let side = |value: i64| json!({ "item": { "value": value } });
        let entry =
            json!({ "provider": "tags", "key": "Set/1", "here": side(5), "there": side(6) });
        let reports = json!({ "items": [{ "at": 100, "replaced": [entry] }] });
        assert!(named(&reports, 100, "Set/1", 5) && named(&reports, 100, "Set/1", 6));
        assert!(!named(&reports, 101, "Set/1", 5), "an older report");
        assert!(!named(&reports, 100, "Set/2", 5) && !named(&reports, 100, "Set/1", 7));
        let cases = [
            (Some(5), false, false, (1, 0, 0)),
            (Some(6), true, false, (1, 0, 0)),
            (Some(6), false, true, (0, 1, 0)),
            (Some(6), false, false, (0, 0, 1)),
            (None, false, false, (0, 0, 1)),
        ];
        for (now, unsure, named, expected) in cases {
            let mut sides = Sides::default();
            sides.place("side-a", "Set/1", 5, now, unsure, named);
            let told = &sides.told;
            assert_eq!((told.in_state, told.in_report, told.lost), expected, "{now:?}");
            assert_eq!(told.wrong.len() as u64, told.lost, "a loss is said in words");
        }
    }
}
