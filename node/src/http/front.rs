//! `/`: the gateway's own page. It shows the node, its peer, the projects and what happened last,
//! rendered here so that it works while a script or the SDK does not.

use std::fmt::Write as _;

use http::StatusCode;
use tandem_protocol::event::{NodeEvent, Severity};
use tandem_protocol::item::Kind;
use tandem_protocol::node::{Level, Role};
use tandem_protocol::status::{PeerStatus, Status};

use super::State;
use super::pages::{self, Project};
use super::redundancy::sync_word;
use super::reply::{self, Reply};
use super::stand::Stand;

const STYLE: &str = include_str!("front.css");
const SCRIPT: &str = include_str!("front.js");
/// Lines of the node's own log that are shown.
const EVENTS_SHOWN: usize = 12;

pub(super) fn page(state: &State) -> Reply {
    let status = state.rooms.driver.status();
    let stand = Stand::now(state);
    let uptime = state.rooms.driver.clock().now().since(state.started).as_secs();
    let projects = pages::all(&state.rooms.driver.items(Kind::Config));
    let events = state.rooms.events.recent();

    let mut main = String::with_capacity(8_192);
    main.push_str("<section class=pair>");
    main.push_str(&this_node(&status, &stand, uptime));
    if status.role != Role::Independent {
        main.push_str(&other_node(&status));
    }
    main.push_str("</section><section class=card><h2>Projects</h2>");
    if projects.is_empty() {
        main.push_str(
            "<p>None yet: <code>tandem-node project push FOLDER</code> at the master brings them.</p>",
        );
    }
    for entry in &projects {
        main.push_str(&project(entry));
    }
    main.push_str("</section><section class=card><h2>What happened here</h2><ol>");
    for event in events.iter().rev().take(EVENTS_SHOWN) {
        main.push_str(&line(event));
    }
    main.push_str("</ol></section>");
    let unnamed = format!("Node {}", status.node);
    let title = if status.system.is_empty() { &unnamed } else { &status.system };
    reply::html(StatusCode::OK, frame(title, &main, Some(&status)))
}

/// A whole page around its main part; with a node's status it goes on showing how that node stands.
pub(super) fn frame(title: &str, main: &str, node: Option<&Status>) -> String {
    let title = escape(title);
    let (mut away, mut foot) = (String::new(), String::new());
    if let Some(status) = node {
        away = away_line(status);
        if !status.contact.is_empty() {
            foot = format!("<footer>Whom to tell: {}</footer>", escape(&status.contact));
        }
        let _ = write!(foot, "<script type=module>{SCRIPT}</script>");
    }
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><link rel=icon href=\"data:,\"><style>{STYLE}</style></head><body>\
         {away}<header><h1>{title}</h1><p>Tandem gateway</p></header><main>{main}</main>{foot}\
         </body></html>"
    )
}

/// What the page says once its node is away, with the way to the other one.
fn away_line(status: &Status) -> String {
    let other = status.addresses.iter().find(|address| address.node != status.node);
    let other = other.map_or_else(String::new, |other| {
        let (node, url) = (escape(other.node.as_str()), escape(&other.url));
        format!(" The other node: <a href=\"{url}\">{node}</a>.")
    });
    format!(
        "<div class=away role=alert>Node {} does not answer: what is shown is old.{other}</div>",
        escape(status.node.as_str())
    )
}

fn this_node(status: &Status, stand: &Stand, uptime: u64) -> String {
    let (tone, word) = match (stand.level, stand.fenced) {
        (_, true) => ("bad", "Fenced".to_owned()),
        (Level::Active, false) => ("good", "Active".to_owned()),
        (Level::Undecided, false) => ("wait", "Undecided".to_owned()),
        (level @ (Level::Cold | Level::Warm), false) => ("idle", level.to_string()),
    };
    let term = stand.term.as_ref().map_or_else(|| "none yet".to_owned(), ToString::to_string);
    let mut rows = vec![
        ("Role", status.role.to_string()),
        ("Term", term),
        ("Data", sync_word(status.sync, status.role).to_owned()),
        ("Running for", duration(uptime)),
        ("Version", status.version.clone()),
    ];
    if !status.reason.is_empty() {
        rows.push(("Reason", status.reason.clone()));
    }
    if let Some(incident) = &status.incident {
        rows.push(("Incident", incident.clone()));
    }
    card("This node", status.node.as_str(), tone, &word, &rows)
}

fn other_node(status: &Status) -> String {
    let Some(peer @ PeerStatus { node: Some(node), .. }) = &status.peer else {
        let rows = [("Link", "not heard yet".to_owned())];
        return card("Peer", "unknown", "wait", "Not heard", &rows);
    };
    let (tone, word) = match (peer.connected, peer.level) {
        (false, _) => ("bad", "Lost".to_owned()),
        (true, Level::Active) => ("good", "Active".to_owned()),
        (true, level @ (Level::Undecided | Level::Cold | Level::Warm)) => {
            ("idle", level.to_string())
        }
    };
    let address = status.addresses.iter().find(|address| address.node == *node);
    let address = address.map_or_else(|| "unknown".to_owned(), |address| address.url.clone());
    let rows = [
        ("Link", if peer.connected { "up" } else { "down" }.to_owned()),
        ("In sync", if peer.in_sync { "yes" } else { "no" }.to_owned()),
        ("Address", address),
    ];
    card("Peer", node.as_str(), tone, &word, &rows)
}

fn card(what: &str, name: &str, tone: &str, word: &str, rows: &[(&str, String)]) -> String {
    let mut card = format!(
        "<article class=\"card {tone}\"><h2>{what}</h2><div class=name><b>{}</b>\
         <span class=level>{}</span></div><dl>",
        escape(name),
        escape(word),
    );
    for (key, value) in rows {
        let value = escape(value);
        let is_link = value.starts_with("http://") || value.starts_with("https://");
        let value = if is_link { format!("<a href=\"{value}\">{value}</a>") } else { value };
        // Writing into a String cannot fail.
        let _ = write!(card, "<dt>{key}</dt><dd>{value}</dd>");
    }
    card.push_str("</dl></article>");
    card
}

/// A project with links to its pages.
pub(super) fn project(project: &Project) -> String {
    let name = escape(&project.name);
    let title = escape(&project.title);
    let mut row = match &project.start {
        Some(start) => {
            let start = escape(start);
            format!("<div class=project><b><a href=\"/p/{name}/{start}\">{title}</a></b>")
        }
        None => format!("<div class=project><b>{title}</b>"),
    };
    row.push_str("<nav class=pages>");
    for page in &project.pages {
        let page = escape(page);
        let _ = write!(row, "<a href=\"/p/{name}/{page}\">{page}</a>");
    }
    row.push_str("</nav></div>");
    row
}

fn line(event: &NodeEvent) -> String {
    let class = match event.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let (time, kind, text) = (event.time.0, escape(&event.kind), escape(&event.text));
    format!("<li class={class}><time datetime={time}></time><i>{kind}</i><span>{text}</span></li>")
}

fn duration(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}

/// Text as HTML, also inside quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::{duration, escape, project};
    use crate::http::pages::Project;

    #[test]
    fn what_people_write_stays_text() {
        assert_eq!(escape("<b a=\"1\">&'"), "&lt;b a=&quot;1&quot;&gt;&amp;&#39;");
        let row = project(&Project {
            name: "demo".to_owned(),
            title: "<script>".to_owned(),
            start: Some("main".to_owned()),
            pages: vec!["main".to_owned()],
        });
        assert!(row.contains("&lt;script&gt;") && row.contains("href=\"/p/demo/main\""));
    }

    #[test]
    fn a_duration_has_two_units() {
        for (seconds, text) in
            [(5, "5 s"), (65, "1 min 5 s"), (3_700, "1 h 1 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }
}
