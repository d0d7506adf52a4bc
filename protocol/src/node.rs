//! Who a node is: its id, its pair, its role, its run.

use std::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::limits::NAME_MAX_BYTES;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a name: 1 to {NAME_MAX_BYTES} of a-z, A-Z, 0-9, '-', '_' and '.'")]
pub struct NotAName {
    text: String,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode,
            Decode,
        )]
        #[serde(try_from = "String", into = "String")]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAName;

            fn try_from(text: String) -> Result<Self, NotAName> {
                if is_name(&text) { Ok($name(text)) } else { Err(NotAName { text }) }
            }
        }

        impl std::str::FromStr for $name {
            type Err = NotAName;

            fn from_str(text: &str) -> Result<Self, NotAName> {
                $name::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type! {
    /// A node's id: stable for the life of its data folder, different from its peer's.
    NodeId
}
name_type! {
    /// A pair's id: both nodes name the same one.
    PairId
}

fn is_name(text: &str) -> bool {
    (1..=NAME_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// One run of a node's process: random at each start, so that a restart is seen. In JSON a text of
/// 16 digits: JavaScript cannot hold a number of that size.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[serde(try_from = "String", into = "String")]
#[cbor(transparent)]
pub struct BootId(#[n(0)] pub u64);

/// Why a text names no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a run: 16 of 0-9 and a-f")]
pub struct NotABootId {
    text: String,
}

impl TryFrom<String> for BootId {
    type Error = NotABootId;

    fn try_from(text: String) -> Result<Self, NotABootId> {
        let whole = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u64::from_str_radix(&text, 16).ok().filter(|_| whole);
        number.map(BootId).ok_or(NotABootId { text })
    }
}

impl From<BootId> for String {
    fn from(boot: BootId) -> String {
        boot.to_string()
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A node's role: a setting. It never moves; the activity level does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// A gateway without a peer.
    #[n(0)]
    Independent,
    /// Owns the configuration.
    #[n(1)]
    Master,
    /// Takes over when the master is lost; dials the master.
    #[n(2)]
    Backup,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Independent => "Independent",
            Role::Master => "Master",
            Role::Backup => "Backup",
        })
    }
}

/// What a node may do at the moment. It moves at a failover; the role does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(index_only)]
pub enum Level {
    /// Just started: has not heard its peer and has not waited long enough.
    #[n(0)]
    Undecided,
    /// Standby that starts no sources.
    #[n(1)]
    Cold,
    /// Standby that subscribes and computes, without effect outside.
    #[n(2)]
    Warm,
    /// Acts, under a permit.
    #[n(3)]
    Active,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Undecided => "Undecided",
            Level::Cold => "Cold",
            Level::Warm => "Warm",
            Level::Active => "Active",
        })
    }
}

/// How a node's replicated data stands against its peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(index_only)]
pub enum SyncState {
    /// Equal positions, equal hashes, all applied.
    #[n(0)]
    Good,
    /// Behind, or took the level while behind.
    #[n(1)]
    OutOfDate,
    /// Catching up.
    #[n(2)]
    Synchronizing,
    /// The peer's configuration cannot be taken.
    #[n(3)]
    Incompatible,
    /// Nothing is known of the peer.
    #[n(4)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::{BootId, NodeId};

    #[test]
    fn a_run_is_a_text_that_every_language_can_hold() {
        for (number, json) in [(7, "\"0000000000000007\""), (u64::MAX - 1, "\"fffffffffffffffe\"")]
        {
            assert_eq!(serde_json::to_string(&BootId(number)).unwrap(), json);
            assert_eq!(serde_json::from_str::<BootId>(json).unwrap(), BootId(number));
        }
        for wrong in ["7", "\"7\"", "\"+000000000000007\"", "\"00000000000000007\"", "\"\""] {
            assert!(serde_json::from_str::<BootId>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_short_and_plain() {
        for (text, right) in
            [("a", true), ("node-1.plant_2", true), ("", false), ("a b", false), ("ä", false)]
        {
            assert_eq!(text.parse::<NodeId>().is_ok(), right, "{text}");
        }
        assert!("x".repeat(65).parse::<NodeId>().is_err());
    }
}
