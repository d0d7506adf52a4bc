//! What a page says: how it starts, what an older page kept, what its user does.

use serde_json::Value;
use tandem_client::protocol::event::EventPosition;
use tandem_client::protocol::failover::input::{PageState, Transfer};
use tandem_client::protocol::session::{Operation, Request, SessionId, Token, WriteId};
use tandem_client::protocol::time::SessionClock;
use tandem_client::protocol::wire::session::Object;
use tandem_client::{Options, Saved};

use super::session::{tag_value, term};
use super::{Fields, Malformed, Read};

/// One text of a page, told apart by its `type`.
#[derive(Debug)]
pub(crate) enum FromPage {
    /// `start`: a session is to begin.
    Start(Start),
    /// `saved`: with this it goes on.
    Saved(Box<Saved>),
    /// `operate`: the user does something.
    Operate(Operation),
}

/// How a page starts its session; the fields are those of [`Options`].
#[derive(Debug)]
pub(crate) struct Start {
    addresses: Vec<String>,
    fixed: bool,
    project: String,
    page: String,
    params: Object,
    props: Object,
    warm_watch: bool,
    navigates: bool,
}

impl Start {
    /// The machine's options.
    pub(crate) fn options(self, resume: Option<Saved>, seed: u64) -> Options {
        Options {
            addresses: self.addresses,
            fixed: self.fixed,
            project: self.project,
            page: self.page,
            params: self.params,
            props: self.props,
            warm_watch: self.warm_watch,
            navigates: self.navigates,
            resume,
            seed,
        }
    }
}

/// Reads one text.
pub(crate) fn from_page(text: &str) -> Read<FromPage> {
    let mut f = Fields::parse(text)?;
    let kind = f.text("type");
    Ok(match kind.as_str() {
        "start" => FromPage::Start(start(f)?),
        "saved" => FromPage::Saved(Box::new(saved(f)?)),
        "operate" => FromPage::Operate(operation(f)?),
        _ => return Err(Malformed("type")),
    })
}

fn start(mut f: Fields) -> Read<Start> {
    let mut addresses = Vec::new();
    for value in f.values("addresses") {
        let Value::String(url) = value else { return Err(Malformed("addresses")) };
        addresses.push(url);
    }
    let made = Start {
        addresses,
        fixed: f.flag_or("fixed", false),
        project: f.text("project"),
        page: f.text("page"),
        params: f.object("params"),
        props: f.object("props"),
        warm_watch: f.flag_or("warm_watch", true),
        navigates: f.flag_or("navigates", true),
    };
    f.done(made)
}

fn saved(mut f: Fields) -> Read<Saved> {
    let (pair, node) = (f.maybe_name("pair")?, f.maybe_name("node")?);
    let (term, place) = (f.maybe("term", term)?, f.maybe("place", place)?);
    let transfer = f.maybe("transfer", transfer)?;
    let open = f.list("open", request)?;
    let made = Saved {
        session: SessionId(f.text("session")),
        token: Token(f.text("token")),
        nonce: f.maybe_text("nonce"),
        last_event: f.maybe_number("last_event").map(EventPosition),
        next_id: WriteId(f.number("next_id")),
        open,
        term,
        pair,
        node,
        place,
        clock: f.maybe_number("clock").map(SessionClock),
        transfer,
    };
    f.done(made)
}

fn request(mut f: Fields) -> Read<Request> {
    let id = WriteId(f.number("id"));
    let floor = WriteId(f.number_or_zero("floor"));
    let deadline = SessionClock(f.number("deadline"));
    let resent = f.flag_or("resent", false);
    Ok(Request { operation: operation(f)?, id, floor, deadline, resent })
}

/// The last fields of what it is a part of: what was wrong before is said here.
fn operation(mut f: Fields) -> Read<Operation> {
    let op = f.text("op");
    let made = match op.as_str() {
        "write" => {
            let value = tag_value(f.any("value"))?.ok_or(Malformed("value"))?;
            Operation::Write { tag: f.text("tag"), value }
        }
        "ack" => Operation::Ack {
            alarm: f.text("alarm"),
            raise: f.number("raise"),
            who: f.maybe_text("who"),
            note: f.maybe_text("note"),
        },
        "shelve" => Operation::Shelve {
            alarm: f.text("alarm"),
            seconds: f.number("seconds"),
            who: f.maybe_text("who"),
            note: f.maybe_text("note"),
        },
        "unshelve" => Operation::Unshelve { alarm: f.text("alarm") },
        "props" => Operation::Props { props: f.object("props") },
        "page" => Operation::Page { page: f.text("page"), params: f.object("params") },
        _ => return Err(Malformed("op")),
    };
    f.done(made)
}

fn place(mut f: Fields) -> Read<PageState> {
    let made =
        PageState { page: f.text("page"), params: f.object("params"), props: f.object("props") };
    f.done(made)
}

fn transfer(mut f: Fields) -> Read<Transfer> {
    let made = Transfer {
        from: f.maybe_name("from")?,
        to: f.name("to")?,
        reason: f.text("reason"),
        gap_ms: f.number("gap_ms"),
        incident: f.text("incident"),
        contact: f.text("contact"),
    };
    f.done(made)
}
