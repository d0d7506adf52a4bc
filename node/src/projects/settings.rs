//! `gateway.toml`: the shared gateway settings that a person writes, checked and turned into the
//! JSON that the pair replicates.
//!
//! Each tag and each alarm is read by itself, so that a mistake in one is told with its line and
//! key. What a tag does is not decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tandem_protocol::alarm::{AlarmDefinition, PipelineDefinition};
use tandem_protocol::limits::{NAME_MAX_BYTES, TAG_PATH_MAX_BYTES, TEXT_MAX_BYTES};
use tandem_protocol::runtime::definitions::GatewaySettings;
use tandem_protocol::tag::{TagDefinition, TagKind, TagPath, TagValue};
use toml::Spanned;

use super::Error;

/// Tags of one gateway: all are held in memory and each keeps a slot for its value.
const TAGS_MAX: usize = 100_000;
/// Alarms of one gateway: all raised ones are sent with `opened`.
const ALARMS_MAX: usize = 10_000;

/// Pipelines of one gateway: each is a place that people look at.
const PIPELINES_MAX: usize = 1_000;

const HOST_ITEMS: &[&str] = &["cpu", "memory", "disk", "net_in", "net_out"];
const WAVES: &[&str] = &["sine", "ramp", "square", "walk", "counter"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    system: String,
    #[serde(default)]
    contact: String,
    #[serde(default)]
    tags: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    alarms: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    pipelines: Vec<Spanned<toml::Table>>,
}

pub(super) fn read(path: &Path, text: &str) -> Result<Bytes, Error> {
    let file: File = toml::from_str(text).map_err(|e| toml_error(path, text, &e))?;
    let place = Place { path, text };
    for (what, value) in [("system", &file.system), ("contact", &file.contact)] {
        if value.len() > TEXT_MAX_BYTES {
            return Err(place.error(0, format!("{what}: longer than {TEXT_MAX_BYTES} bytes")));
        }
    }
    let tags = tags(&place, file.tags)?;
    let alarms = alarms(&place, file.alarms, &tags)?;
    let tags = tags.into_values().collect();
    let pipelines = pipelines(&place, file.pipelines)?;
    let File { system, contact, .. } = file;
    let settings = GatewaySettings { system, contact, tags, alarms, pipelines };
    // What the node itself would not put in force must not reach the store.
    settings.check().map_err(|message| place.error(0, message))?;
    serde_json::to_vec(&settings)
        .map(Bytes::from)
        .map_err(|e| place.error(0, format!("cannot be stored: {e}")))
}

fn tags(
    place: &Place<'_>,
    tables: Vec<Spanned<toml::Table>>,
) -> Result<BTreeMap<TagPath, TagDefinition>, Error> {
    if tables.len() > TAGS_MAX {
        return Err(place.error(0, format!("tags: {} of them, at most {TAGS_MAX}", tables.len())));
    }
    let mut tags = BTreeMap::new();
    for table in tables {
        let at = table.span().start;
        let keys: Vec<String> = table.get_ref().keys().cloned().collect();
        let tag: TagDefinition = place.part(table)?;
        let wrong = |key: &str, message: String| {
            place.error(place.key(at, key), format!("tag \"{}\": {key}: {message}", tag.path))
        };
        check_kind(&tag.kind, &keys).map_err(|(key, message)| wrong(&key, message))?;
        if tag.unit.len() > NAME_MAX_BYTES {
            return Err(wrong("unit", format!("longer than {NAME_MAX_BYTES} bytes")));
        }
        if tags.contains_key(&tag.path) {
            return Err(wrong("path", "defined twice".to_owned()));
        }
        tags.insert(tag.path.clone(), tag);
    }
    Ok(tags)
}

/// The key that is wrong and why.
type Wrong = (String, String);

fn check_kind(kind: &TagKind, keys: &[String]) -> Result<(), Wrong> {
    let wrong = |key: &str, message: String| Err((key.to_owned(), message));
    let one_of = |key: &str, value: &str, allowed: &[&str]| {
        if allowed.contains(&value) {
            return Ok(());
        }
        wrong(key, format!("\"{value}\" is not one of {}", allowed.join(", ")))
    };
    match kind {
        TagKind::Host { item } => one_of("item", item, HOST_ITEMS),
        TagKind::Simulator { wave, period_ms, low, high, cycle_ms } => {
            one_of("wave", wave, WAVES)?;
            if !(10..=10_000).contains(period_ms) {
                return wrong("period_ms", format!("{period_ms} is not from 10 to 10000"));
            }
            if *cycle_ms < *period_ms {
                return wrong("cycle_ms", format!("{cycle_ms} is below period_ms"));
            }
            if !(low.is_finite() && high.is_finite() && low < high) {
                return wrong("low", format!("{low} is not below high {high}"));
            }
            Ok(())
        }
        TagKind::Memory { initial, min, max } => {
            let low = min.unwrap_or(f64::NEG_INFINITY);
            let high = max.unwrap_or(f64::INFINITY);
            if low.is_nan() || high.is_nan() || low > high {
                return wrong("min", format!("{low} is above max {high}"));
            }
            match initial {
                TagValue::Text(text) if text.len() > TEXT_MAX_BYTES => {
                    wrong("initial", format!("longer than {TEXT_MAX_BYTES} bytes"))
                }
                TagValue::Text(_) | TagValue::Bool(_) => Ok(()),
                TagValue::Int(_) | TagValue::Float(_) => match initial.as_f64() {
                    Some(value) if value.is_finite() && (low..=high).contains(&value) => Ok(()),
                    _ => wrong("initial", format!("{initial} is not from {low} to {high}")),
                },
            }
        }
        // serde lets extra keys of a kind without fields pass.
        TagKind::Counting => {
            match keys.iter().find(|k| !matches!(k.as_str(), "path" | "unit" | "kind")) {
                None => Ok(()),
                Some(key) => wrong(key, "unknown key of a counting tag".to_owned()),
            }
        }
    }
}

fn alarms(
    place: &Place<'_>,
    tables: Vec<Spanned<toml::Table>>,
    tags: &BTreeMap<TagPath, TagDefinition>,
) -> Result<Vec<AlarmDefinition>, Error> {
    if tables.len() > ALARMS_MAX {
        let message = format!("alarms: {} of them, at most {ALARMS_MAX}", tables.len());
        return Err(place.error(0, message));
    }
    let mut names = BTreeSet::new();
    let mut alarms = Vec::new();
    for table in tables {
        let at = table.span().start;
        let alarm: AlarmDefinition = place.part(table)?;
        let wrong = |key: &str, message: String| {
            let message = format!("alarm \"{}\": {key}: {message}", alarm.name);
            Err(place.error(place.key(at, key), message))
        };
        if alarm.name.is_empty()
            || alarm.name.len() > TAG_PATH_MAX_BYTES
            || alarm.name.chars().any(char::is_control)
        {
            let rule = format!("1 to {TAG_PATH_MAX_BYTES} bytes, no control character");
            return wrong("name", rule);
        }
        if !names.insert(alarm.name.clone()) {
            return wrong("name", "defined twice".to_owned());
        }
        if !tags.contains_key(&alarm.tag) {
            return wrong("tag", format!("there is no tag \"{}\"", alarm.tag));
        }
        if alarm.above.is_none() && alarm.below.is_none() {
            return wrong("above", "an alarm needs above, below or both".to_owned());
        }
        if !alarm.hysteresis.is_finite() || alarm.hysteresis < 0.0 {
            return wrong("hysteresis", format!("{} is not 0 or more", alarm.hysteresis));
        }
        if alarm.text.len() > TEXT_MAX_BYTES {
            return wrong("text", format!("longer than {TEXT_MAX_BYTES} bytes"));
        }
        alarms.push(alarm);
    }
    Ok(alarms)
}

fn pipelines(
    place: &Place<'_>,
    tables: Vec<Spanned<toml::Table>>,
) -> Result<Vec<PipelineDefinition>, Error> {
    if tables.len() > PIPELINES_MAX {
        let message = format!("pipelines: {} of them, at most {PIPELINES_MAX}", tables.len());
        return Err(place.error(0, message));
    }
    tables.into_iter().map(|table| place.part(table)).collect()
}

/// Where errors are told.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    /// Reads one `[[tags]]` or `[[alarms]]` part.
    fn part<T: DeserializeOwned>(&self, table: Spanned<toml::Table>) -> Result<T, Error> {
        let at = table.span().start;
        toml::Value::Table(table.into_inner()).try_into().map_err(|e: toml::de::Error| {
            let message = e.message().trim().to_owned();
            // serde quotes the key that it speaks of; the part's own line says enough otherwise.
            let key = message.split('`').nth(1).unwrap_or_default().to_owned();
            self.error(self.key(at, &key), message)
        })
    }

    /// Where `key` is set in the part that begins at `at`; `at` when it is not.
    fn key(&self, at: usize, key: &str) -> usize {
        let Some(rest) = self.text.get(at..) else { return at };
        let mut offset = at;
        for (n, line) in rest.split_inclusive('\n').enumerate() {
            if n > 0 && line.trim_start().starts_with("[[") {
                break;
            }
            let sets = line.split('=').next().is_some_and(|left| left.trim() == key);
            if !key.is_empty() && sets && line.contains('=') {
                return offset;
            }
            offset += line.len();
        }
        at
    }

    fn error(&self, at: usize, message: String) -> Error {
        Error::Toml { path: self.path.to_owned(), line: line_at(self.text, at), message }
    }
}

/// The line of a byte offset, from 1.
pub(super) fn line_at(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}

pub(super) fn toml_error(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let line = line_at(text, error.span().map_or(0, |span| span.start));
    Error::Toml { path: path.to_owned(), line, message: error.message().trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::read;

    const TAGS: &str = r#"
system = "Plant"

[[tags]]
path = "Plant/Level"
kind = "simulator"
wave = "sine"
period_ms = 100

[[tags]]
path = "Plant/Setpoint"
unit = "m"
kind = "memory"
initial = 3.5
max = 10
"#;

    fn error(more: &str) -> String {
        let text = format!("{TAGS}{more}");
        read(Path::new("gateway.toml"), &text).unwrap_err().to_string()
    }

    #[test]
    fn settings_become_json() {
        let more = "[[alarms]]\nname = \"High\"\ntag = \"Plant/Level\"\nabove = 90\n";
        let json = read(Path::new("gateway.toml"), &format!("{TAGS}{more}")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["system"], "Plant");
        assert_eq!(json["tags"][0]["path"], "Plant/Level");
        assert_eq!(json["tags"][1]["initial"], 3.5);
        assert_eq!(json["alarms"][0]["above"], 90.0);
    }

    #[test]
    fn the_example_is_right() {
        let text = include_str!("../../../examples/gateway.toml");
        let json = read(Path::new("gateway.toml"), text).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["alarms"][0]["pipeline"], json["pipelines"][0]["name"]);
        assert_eq!(json["tags"].as_array().map(Vec::len), Some(4));
    }

    #[test]
    fn a_mistake_names_line_and_key() {
        for (more, expected) in [
            ("colour = 1\n", "gateway.toml:16: unknown field `colour`"),
            ("[[tag]]\n", "gateway.toml:16: unknown field `tag`"),
            (
                "[[tags]]\npath = \"A\"\nkind = \"counting\"\nhgih = 1\n",
                "gateway.toml:19: tag \"A\": hgih",
            ),
            (
                "[[tags]]\npath = \"A\"\nkind = \"simulator\"\nwave = \"sine\"\nperiod_ms = 5\n",
                "gateway.toml:20: tag \"A\": period_ms: 5 is not from 10 to 10000",
            ),
            (
                "[[tags]]\npath = \"A\"\nkind = \"host\"\nitem = \"cpu\"\nx = 1\n",
                "gateway.toml:20: unknown field `x`",
            ),
            (
                "[[tags]]\npath = \"A\"\nkind = \"host\"\nitem = \"gpu\"\n",
                "gateway.toml:19: tag \"A\": item: \"gpu\" is not one of cpu",
            ),
            ("[[tags]]\nkind = \"counting\"\n", "gateway.toml:16: missing field `path`"),
            (
                "[[tags]]\npath = \"Plant/Level\"\nkind = \"counting\"\n",
                "gateway.toml:17: tag \"Plant/Level\": path: defined twice",
            ),
            (
                "[[alarms]]\nname = \"High\"\ntag = \"Away\"\nabove = 1\n",
                "gateway.toml:18: alarm \"High\": tag: there is no tag \"Away\"",
            ),
            (
                "[[alarms]]\nname = \"High\"\ntag = \"Plant/Level\"\n",
                "gateway.toml:16: alarm \"High\": above: an alarm needs above, below or both",
            ),
            (
                "[[pipelines]]\nname = \"desk\"\nwebhook = \"ftp://x\"\n",
                "gateway.toml:1: pipeline \"desk\": webhook must begin with http:// and a host",
            ),
            (
                "[[pipelines]]\nname = \"desk\"\nwebhook = \"https://desk/\"\n",
                "gateway.toml:1: pipeline \"desk\": webhook: https:// is not spoken",
            ),
            ("system = \n", "gateway.toml:16: "),
        ] {
            let text = error(more);
            assert!(text.starts_with(expected), "{text}\n  expected {expected}");
        }
    }
}
