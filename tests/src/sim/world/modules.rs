//! What a node's modules do under the permit: values, alarms; and the master's projects.

use tandem_protocol::gateway::input::Request;
use tandem_protocol::gateway::output::Output;
use tandem_protocol::item::{Change, ItemKey};
use tandem_protocol::tag::{Quality, Sample, TagValue};
use tandem_protocol::wire::peer::{LiveValue, Message, Refusal};
use tandem_protocol::wire::session::{ServerMessage, TagUpdate};

use super::{Event, World};
use crate::sim::hub::{Asked, Seat, Socket};
use crate::sim::network::{Host, PipeId};
use crate::sim::plan::MS;
use crate::sim::planted::Plant;

impl World {
    /// Modules sample: a value to every session, and to the peer on the bulk connection.
    pub(super) fn sample(&mut self, host: Host) {
        let end = self.nodes[host].end();
        self.after(250 * MS, Event::Sample(end));
        let serves = self.witness.serves(&self.nodes[host], self.now);
        self.check(serves);
        if !self.nodes[host].runs() || self.may_act(host).is_none() {
            return;
        }
        self.acts(host);
        if self.plant == Some(Plant::ExitsAlone) {
            let (reason, detail) = (Refusal::Stopping, "for no reason".to_owned());
            self.output(host, Output::Exit { reason, detail });
            return;
        }
        let time = self.nodes[host].wall(self.now);
        let value = TagValue::Int(i64::try_from(self.now).unwrap_or(0));
        let Some(run) = &self.nodes[host].run else { return };
        let bound =
            |(pipe, s): (&PipeId, &Socket)| matches!(s.seat, Seat::Bound(_)).then_some(*pipe);
        let pipes: Vec<PipeId> = run.hub.sockets.iter().filter_map(bound).collect();
        let lane =
            run.links.values().find_map(|link| Some((link.bulk?, usize::from(!link.dialed))));
        let (tag, quality) = ("Sim/Wave".to_owned(), Quality::Good);
        let update = TagUpdate { tag: tag.clone(), value: Some(value.clone()), quality, time };
        for pipe in pipes {
            self.say(pipe, ServerMessage::Values { values: vec![update.clone()] });
        }
        if let Some((pipe, side)) = lane {
            let values = vec![LiveValue { tag, sample: Sample { value, quality, time } }];
            self.send_peer(pipe, side, Message::Live { all: false, values });
        }
    }

    /// Alarms move: one is raised, another time it clears.
    pub(super) fn alarm(&mut self, host: Host) {
        let end = self.nodes[host].end();
        self.after(1_700 * MS, Event::Alarm(end));
        if !self.nodes[host].runs() || self.may_act(host).is_none() {
            return;
        }
        let Some(run) = &mut self.nodes[host].run else { return };
        run.hub.ticks += 1;
        let ticks = run.hub.ticks;
        let alarm = if ticks % 4 < 2 { "High" } else { "Low" };
        if ticks % 5 == 0 {
            let key = ItemKey::new("recipes", format!("{}", ticks % 3));
            let body = Some(bytes::Bytes::from(format!("recipe {ticks}")));
            self.ask(host, Asked::Own, Request::Keep { changes: vec![Change { key, body }] });
        }
        let request = Request::AlarmMoved { alarm: alarm.to_owned(), raised: ticks % 2 == 1 };
        self.ask(host, Asked::Own, request);
    }

    /// The master puts its projects into the store, or an engineer changes one (`change`).
    pub(super) fn project(&mut self, host: Host, change: Option<u64>) {
        if host != self.plan.master {
            return;
        }
        let node = self.nodes[host].end();
        let settings = ItemKey::new("settings", "gateway");
        let Some(run) = &self.nodes[host].run else { return };
        let has = run.config.contains_key(&settings);
        let mut asked = Asked::Own;
        let changes = match change {
            None if has => return,
            Some(_) if !has => return,
            None => first_config(),
            Some(number) => {
                // Every other one is of a provider that no room here knows.
                let provider = if number % 2 == 1 { "of_a_newer_version" } else { "project" };
                let key = ItemKey::new(provider, format!("plant/assets/{number}.txt"));
                let body = bytes::Bytes::from(format!("asset {number} at {}", self.now));
                asked = Asked::Config { key: key.clone(), body: body.clone() };
                vec![Change { key, body: Some(body) }]
            }
        };
        if change.is_none() {
            self.after(50 * MS, Event::Project { node, change });
        } else if self.nodes[1 - host].run.is_none() {
            self.tally.case("config changed while the backup was away");
        }
        self.ask(host, asked, Request::Config { changes, expect: Vec::new() });
    }
}

fn first_config() -> Vec<Change> {
    let settings = r#"{"system":"Plant","contact":"the control room","tags":[
        {"path":"Count/1","kind":"counting"},{"path":"Count/2","kind":"counting"},
        {"path":"Set/1","kind":"memory","initial":0},{"path":"Set/2","kind":"memory","initial":0},
        {"path":"Sim/Wave","kind":"simulator","wave":"sine","period_ms":250}],
        "alarms":[{"name":"High","tag":"Sim/Wave","above":90.0},
        {"name":"Low","tag":"Sim/Wave","below":10.0}]}"#;
    [
        ("settings", "gateway", settings),
        ("project", "plant/project.toml", "title = \"Plant\"\nstart = \"main\"\n"),
        ("project", "plant/pages/main.html", "<h1>Plant</h1>"),
    ]
    .map(|(provider, key, body)| Change {
        key: ItemKey::new(provider, key),
        body: Some(bytes::Bytes::from_static(body.as_bytes())),
    })
    .to_vec()
}
