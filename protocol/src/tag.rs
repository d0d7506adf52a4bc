//! Tags: named values, sampled by sources or written by operators.

use std::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::limits::TAG_PATH_MAX_BYTES;
use crate::time::UnixMs;

/// Why a text is not a tag path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a tag path: 1 to {TAG_PATH_MAX_BYTES} bytes, no control characters")]
pub struct NotATagPath {
    text: String,
}

/// A tag's path, such as `Plant/Boiler/Temperature`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[serde(try_from = "String", into = "String")]
#[cbor(transparent)]
pub struct TagPath(#[n(0)] String);

impl TagPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TagPath {
    type Error = NotATagPath;

    fn try_from(text: String) -> Result<Self, NotATagPath> {
        let right =
            (1..=TAG_PATH_MAX_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        if right { Ok(TagPath(text)) } else { Err(NotATagPath { text }) }
    }
}

impl std::str::FromStr for TagPath {
    type Err = NotATagPath;

    fn from_str(text: &str) -> Result<Self, NotATagPath> {
        TagPath::try_from(text.to_owned())
    }
}

impl From<TagPath> for String {
    fn from(path: TagPath) -> String {
        path.0
    }
}

impl fmt::Display for TagPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tag's value. JSON and CBOR carry it as the plain value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(untagged)]
pub enum TagValue {
    /// True or false.
    #[n(0)]
    Bool(#[n(0)] bool),
    /// A whole number.
    #[n(1)]
    Int(#[n(0)] i64),
    /// A number.
    #[n(2)]
    Float(#[n(0)] f64),
    /// A text of at most 4 KiB.
    #[n(3)]
    Text(#[n(0)] String),
}

impl TagValue {
    /// The value as a number, where it is one; a Bool is 0 or 1.
    #[expect(clippy::cast_precision_loss, reason = "a trend or a limit needs no 53rd bit")]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            TagValue::Bool(b) => Some(if *b { 1.0 } else { 0.0 }),
            TagValue::Int(i) => Some(*i as f64),
            TagValue::Float(f) => Some(*f),
            TagValue::Text(_) => None,
        }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for TagValue {
            fn from(value: $from) -> TagValue {
                TagValue::$variant(value.into())
            }
        }
    )*};
}

value_from!(bool => Bool, i64 => Int, f64 => Float, String => Text, &str => Text);

impl fmt::Display for TagValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TagValue::Bool(b) => write!(f, "{b}"),
            TagValue::Int(i) => write!(f, "{i}"),
            TagValue::Float(x) => write!(f, "{x}"),
            TagValue::Text(t) => f.write_str(t),
        }
    }
}

/// What a value is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Quality {
    /// As the source gave it.
    #[n(0)]
    Good,
    /// The source is away; this was its last value.
    #[n(1)]
    Stale,
    /// There is no value.
    #[n(2)]
    Bad,
}

/// A value with its quality and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct Sample {
    /// The value.
    #[n(0)]
    pub value: TagValue,
    /// What it is worth.
    #[n(1)]
    pub quality: Quality,
    /// When it was sampled.
    #[n(2)]
    pub time: UnixMs,
}

/// Where a tag's values come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TagKind {
    /// Measured on the machine that runs the gateway; `item` names what.
    Host {
        /// `cpu`, `memory`, `disk`, `net_in` or `net_out`.
        item: String,
    },
    /// Made by the simulator.
    Simulator {
        /// `sine`, `ramp`, `square`, `walk` or `counter`.
        wave: String,
        /// How often it is sampled, from 10 to 10000.
        period_ms: u64,
        /// The lower end of its range.
        #[serde(default)]
        low: f64,
        /// The upper end of its range.
        #[serde(default = "one_hundred")]
        high: f64,
        /// How long one wave takes, in milliseconds.
        #[serde(default = "one_minute_ms")]
        cycle_ms: u64,
    },
    /// Written by operators and kept.
    Memory {
        /// Its value before the first write.
        initial: TagValue,
        /// The least number that an operator may write.
        #[serde(default)]
        min: Option<f64>,
        /// The greatest number that an operator may write.
        #[serde(default)]
        max: Option<f64>,
    },
    /// Counts the writes applied to it and keeps their ids, so that a doubled write shows.
    Counting,
}

fn one_hundred() -> f64 {
    100.0
}

fn one_minute_ms() -> u64 {
    60_000
}

/// A tag's definition: config, replicated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TagDefinition {
    /// Its path.
    pub path: TagPath,
    /// Its unit, for people.
    #[serde(default)]
    pub unit: String,
    /// Where its values come from.
    #[serde(flatten)]
    pub kind: TagKind,
}
