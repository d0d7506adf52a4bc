//! `/system/gwinfo` and `/StatusPing`, in the form that balancers of existing gateways read.

use http::StatusCode;
use serde_json::json;
use tandem_protocol::node::Level;
use tandem_protocol::status::Status;

use super::State;
use super::redundancy::sync_word;
use super::reply::{self, Reply};
use super::stand::Stand;

pub(super) fn line(state: &State) -> Reply {
    let line = info(&state.rooms.driver.status(), &Stand::now(state));
    reply::text(StatusCode::OK, "text/plain; charset=utf-8", line)
}

pub(super) fn ping(state: &State) -> Reply {
    reply::json(StatusCode::OK, &json!({ "state": context(&Stand::now(state)) }))
}

fn info(status: &Status, stand: &Stand) -> String {
    let redundant = sync_word(status.sync, status.role);
    format!(
        "ContextStatus={};PlatformName=Tandem-{};Version={};OS={};RuntimeVersion={};\
         RedundancyStatus={};RedundantState={redundant};RedundantNodeActiveStatus={};\
         RequireSsl=false;",
        context(stand),
        status.node,
        plain(&status.version),
        os(),
        env!("CARGO_PKG_RUST_VERSION"),
        status.role,
        stand.level,
    )
}

/// A node that was active and whose permit ran out is running; it only may not act.
fn context(stand: &Stand) -> &'static str {
    if stand.level == Level::Undecided && !stand.fenced { "STARTING" } else { "RUNNING" }
}

fn os() -> &'static str {
    if std::env::consts::OS == "linux" { "Linux" } else { std::env::consts::OS }
}

/// A value must not look like the next key.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, ';' | '=') && !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use tandem_protocol::node::{Level, Role, SyncState};
    use tandem_protocol::status::Status;

    use super::{Stand, info};
    use crate::driver::testing;

    fn status(role: Role, sync: SyncState) -> Status {
        Status { role, sync, ..testing::status(Level::Active) }
    }

    #[test]
    fn the_line_is_as_balancers_read_it() {
        let check = |role, sync, level, fenced, expected: &str| {
            let line = info(&status(role, sync), &Stand { level, term: None, fenced });
            let (head, tail) = line.split_once("RedundancyStatus=").unwrap();
            assert_eq!(tail, format!("{expected}RequireSsl=false;"));
            head.to_owned()
        };
        let head = check(
            Role::Master,
            SyncState::Good,
            Level::Active,
            false,
            "Master;RedundantState=Good;RedundantNodeActiveStatus=Active;",
        );
        assert!(head.starts_with("ContextStatus=RUNNING;PlatformName=Tandem-a;Version=0.1.0;OS="));
        let head = check(
            Role::Backup,
            SyncState::Unknown,
            Level::Undecided,
            false,
            "Backup;RedundantState=Unknown;RedundantNodeActiveStatus=Undecided;",
        );
        assert!(head.starts_with("ContextStatus=STARTING;"));
        let head = check(
            Role::Independent,
            SyncState::Unknown,
            Level::Active,
            false,
            "Independent;RedundantState=Good;RedundantNodeActiveStatus=Active;",
        );
        assert!(head.starts_with("ContextStatus=RUNNING;"));
        let head = check(
            Role::Backup,
            SyncState::Synchronizing,
            Level::Undecided,
            true,
            "Backup;RedundantState=OutOfDate;RedundantNodeActiveStatus=Undecided;",
        );
        assert!(head.starts_with("ContextStatus=RUNNING;"));
    }
}
