//! The tags and alarms of the check: for each fault and each client a counting tag and a setpoint
//! of its own, so that a lost or doubled write shows, and an alarm that it raises itself.

use tandem_tests::harness::{Node, web};

use super::client::Way;
use super::fault::Fault;
use super::{Plan, crowd, load, sides};
use crate::outcome::Outcome;

/// The simulator tag whose first new value ends an outage.
pub(crate) const FAST: &str = "Check/Fast";

/// A simulator tag for those who only must have something to follow.
pub(crate) const SLOW: &str = "Check/Slow";

/// What the active node has at the end of a phase.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counted {
    /// Applications of writes to the counting tag.
    pub(crate) writes: u64,
    /// The setpoint's value.
    pub(crate) setpoint: Option<i64>,
}

/// The counting tag of a client.
pub(crate) fn writes_tag(fault: Fault, client: &str) -> String {
    format!("Check/{}/{client}/Writes", fault.word())
}

/// The setpoint of a client.
pub(crate) fn setpoint_tag(fault: Fault, client: &str) -> String {
    format!("Check/{}/{client}/Setpoint", fault.word())
}

/// The tag by which a client raises its own alarm.
pub(crate) fn level_tag(client: &str) -> String {
    format!("Check/{client}/Level")
}

/// The alarm of a client.
pub(crate) fn alarm(client: &str) -> String {
    format!("Check {client}")
}

/// Lines for the gateway settings.
pub(super) fn settings(plan: &Plan) -> String {
    let mut clients: Vec<&str> = Way::ALL.iter().map(|way| way.word()).collect();
    clients.extend([load::NAME, crowd::NAME]);
    clients.extend(sides::NAMES);
    let faults: Vec<Fault> = plan.phases.iter().map(|(fault, _)| *fault).collect();
    let mut text = format!(
        "\n[[tags]]\npath = \"{FAST}\"\nkind = \"simulator\"\nwave = \"counter\"\nperiod_ms = 10\n\
         \n[[tags]]\npath = \"{SLOW}\"\nkind = \"simulator\"\nwave = \"sine\"\nperiod_ms = 1000\n"
    );
    let mut memory = |path: &str| {
        text += &format!("\n[[tags]]\npath = \"{path}\"\nkind = \"memory\"\ninitial = 0\n");
    };
    for client in &clients {
        memory(&level_tag(client));
        for fault in &faults {
            memory(&setpoint_tag(*fault, client));
        }
    }
    for client in &clients {
        for fault in &faults {
            let path = writes_tag(*fault, client);
            text += &format!("\n[[tags]]\npath = \"{path}\"\nkind = \"counting\"\n");
        }
        text += &format!(
            "\n[[alarms]]\nname = \"{}\"\ntag = \"{}\"\nabove = 50.0\npriority = \"low\"\n\
             text = \"Raised by the check\"\n",
            alarm(client),
            level_tag(client)
        );
    }
    text
}

/// Reads what the active node has.
pub(crate) async fn counted(active: &Node, fault: Fault, client: &str) -> Outcome<Counted> {
    let writes = value(active, &writes_tag(fault, client)).await?;
    let setpoint = value(active, &setpoint_tag(fault, client)).await?;
    Ok(Counted {
        writes: writes.as_ref().and_then(whole).and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        setpoint: setpoint.as_ref().and_then(whole),
    })
}

pub(crate) async fn value(node: &Node, tag: &str) -> Outcome<Option<serde_json::Value>> {
    let reply = web::get(node.base(), &format!("/data/api/v1/tags/{tag}")).await?;
    Ok(reply.json().get("value").cloned())
}

/// A number without a fraction.
pub(crate) fn whole(value: &serde_json::Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "setpoints of the check are milliseconds")]
    value.as_i64().or_else(|| value.as_f64().map(|x| x as i64))
}
