//! One source of options: every key may be absent. serde stays in here.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::Error as _;
use tandem_protocol::node::{NodeId, PairId, Role};
use tandem_protocol::settings::{HistoryLevel, RecoveryMode, SharedSettings, StandbyLevel};

use super::LogFormat;
use crate::error::{Error, Result};

/// What variables of the environment begin with.
const PREFIX: &str = "TANDEM_";

macro_rules! layer {
    ($(#[$doc:meta])* $name:ident, $keys:ident { $($key:ident : $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $(pub(super) $key: Option<$type>,)*
        }

        pub(super) const $keys: &[&str] = &[$(stringify!($key)),*];

        impl $name {
            /// Takes over what `other` sets.
            fn take(&mut self, other: $name) {
                $(if other.$key.is_some() { self.$key = other.$key; })*
            }
        }
    };
}

layer! {
    /// The node's own options.
    Layer, KEYS {
        role: RoleWord,
        node_id: NodeId,
        pair_id: PairId,
        pair_secret: String,
        peer: String,
        bind: IpAddr,
        http: u16,
        public_address: String,
        data_dir: PathBuf,
        web_dir: PathBuf,
        projects_dir: PathBuf,
        max_disk_mb: u64,
        follow_parent: bool,
        log: LogFormat,
        log_level: String,
        shared: SharedLayer,
    }
}

layer! {
    /// The settings that both nodes must agree on.
    SharedLayer, SHARED_KEYS {
        standby_activity_level: StandbyLevel,
        history_level: HistoryLevel,
        master_recovery_mode: RecoveryMode,
        join_wait_ms: u64,
        ping_rate_ms: u64,
        ping_max_missed: u64,
        sync_timeout_s: u64,
        sync_lag_max_ms: u64,
        use_active_uptime_to_resolve_conflict: bool,
        trust_refused_connection: bool,
        min_active_hold_ms: u64,
        health_switch: bool,
    }
}

/// A role, in either case.
#[derive(Debug)]
pub(super) struct RoleWord(pub(super) Role);

impl<'de> Deserialize<'de> for RoleWord {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        match text.to_ascii_lowercase().as_str() {
            "independent" => Ok(RoleWord(Role::Independent)),
            "master" => Ok(RoleWord(Role::Master)),
            "backup" => Ok(RoleWord(Role::Backup)),
            _ => Err(D::Error::custom(format!(
                "\"{text}\" is not a role: Independent, Master or Backup"
            ))),
        }
    }
}

impl SharedLayer {
    /// These settings, the others from `base`.
    pub(super) fn over(self, base: SharedSettings) -> SharedSettings {
        SharedSettings {
            standby_activity_level: self
                .standby_activity_level
                .unwrap_or(base.standby_activity_level),
            history_level: self.history_level.unwrap_or(base.history_level),
            master_recovery_mode: self.master_recovery_mode.unwrap_or(base.master_recovery_mode),
            join_wait_ms: self.join_wait_ms.unwrap_or(base.join_wait_ms),
            ping_rate_ms: self.ping_rate_ms.unwrap_or(base.ping_rate_ms),
            ping_max_missed: self.ping_max_missed.unwrap_or(base.ping_max_missed),
            sync_timeout_s: self.sync_timeout_s.unwrap_or(base.sync_timeout_s),
            sync_lag_max_ms: self.sync_lag_max_ms.unwrap_or(base.sync_lag_max_ms),
            use_active_uptime_to_resolve_conflict: self
                .use_active_uptime_to_resolve_conflict
                .unwrap_or(base.use_active_uptime_to_resolve_conflict),
            trust_refused_connection: self
                .trust_refused_connection
                .unwrap_or(base.trust_refused_connection),
            min_active_hold_ms: self.min_active_hold_ms.unwrap_or(base.min_active_hold_ms),
            health_switch: self.health_switch.unwrap_or(base.health_switch),
        }
    }
}

/// The option that a variable of the environment sets: `TANDEM_NODE_ID` sets `node_id`,
/// `TANDEM_SHARED_PING_RATE_MS` sets `shared.ping_rate_ms`. Others belong to other programs.
pub(super) fn environment_key(name: &str) -> Option<String> {
    let key = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
    if let Some(shared) = key.strip_prefix("shared_") {
        return SHARED_KEYS.contains(&shared).then(|| format!("shared.{shared}"));
    }
    (key != "shared" && KEYS.contains(&key.as_str())).then_some(key)
}

impl Layer {
    /// Reads a file.
    pub(super) fn from_file(path: &Path) -> Result<Layer> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::Options(format!("{}: {e}", path.display())))?;
        toml::from_str(&text).map_err(|e| describe(path, &text, &e))
    }

    /// Sets one key from a text that is not typed.
    pub(super) fn set(&mut self, key: &str, text: &str, place: &str) -> Result<()> {
        let quoted = toml::Value::String(text.to_owned()).to_string();
        // A number or a truth value may stand bare; everything else is a text.
        let typed = one_key(key, text).or_else(|_| one_key(key, &quoted));
        let other = typed.map_err(|e| {
            let message = e.message().trim();
            Error::Options(format!("{place}: {key}: {message}"))
        })?;
        self.merge(other);
        Ok(())
    }

    fn merge(&mut self, mut other: Layer) {
        let shared = match (self.shared.take(), other.shared.take()) {
            (Some(mut mine), Some(theirs)) => {
                mine.take(theirs);
                Some(mine)
            }
            (mine, theirs) => theirs.or(mine),
        };
        self.take(other);
        self.shared = shared;
    }
}

fn one_key(key: &str, value: &str) -> std::result::Result<Layer, toml::de::Error> {
    toml::from_str(&format!("{key} = {value}"))
}

/// Names file, line and key.
fn describe(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..at).unwrap_or("");
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let content = text.lines().nth(line - 1).unwrap_or("");
    let key = content.split('=').next().unwrap_or("").trim();
    let message = error.message().trim();
    let named = if key.is_empty() { message.to_owned() } else { format!("{key}: {message}") };
    Error::Options(format!("{}:{line}: {named}", path.display()))
}
