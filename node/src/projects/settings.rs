//! `gateway.toml`: the shared gateway settings that a person writes, checked and turned into the
//! JSON that the pair replicates.
//!
//! Each tag and each alarm is read by itself, so that a mistake in one is told with its line and
//! key. What is a mistake is not decided here: the rules are those of `GatewaySettings::check`.

use std::path::Path;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tandem_protocol::runtime::definitions::{GatewaySettings, Part};
use tandem_protocol::tag::{TagDefinition, TagKind};
use toml::Spanned;

use super::Error;

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
    let starts = |tables: &[Spanned<toml::Table>]| -> Vec<usize> {
        tables.iter().map(|table| table.span().start).collect()
    };
    let begin = [starts(&file.tags), starts(&file.alarms), starts(&file.pipelines)];
    let tags = file.tags.into_iter().map(|table| place.tag(table)).collect::<Result<_, _>>()?;
    let alarms =
        file.alarms.into_iter().map(|table| place.part(table)).collect::<Result<_, _>>()?;
    let pipelines =
        file.pipelines.into_iter().map(|table| place.part(table)).collect::<Result<_, _>>()?;
    let File { system, contact, .. } = file;
    let settings = GatewaySettings { system, contact, tags, alarms, pipelines };
    // What the node itself would not put in force must not reach the store.
    settings.check().map_err(|mistake| {
        let [tags, alarms, pipelines] = &begin;
        let (list, number) = match mistake.part {
            Part::Top => return place.error(0, mistake.to_string()),
            Part::Tag(number) => (tags, number),
            Part::Alarm(number) => (alarms, number),
            Part::Pipeline(number) => (pipelines, number),
        };
        let at = list.get(number).copied().unwrap_or(0);
        place.error(place.key(at, mistake.key), mistake.to_string())
    })?;
    serde_json::to_vec(&settings)
        .map(Bytes::from)
        .map_err(|e| place.error(0, format!("cannot be stored: {e}")))
}

/// Where errors are told.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    /// Reads one `[[tags]]` part.
    fn tag(&self, table: Spanned<toml::Table>) -> Result<TagDefinition, Error> {
        let at = table.span().start;
        let keys: Vec<String> = table.get_ref().keys().cloned().collect();
        let tag: TagDefinition = self.part(table)?;
        // serde lets extra keys of a kind without fields pass.
        let extra = |key: &&String| !matches!(key.as_str(), "path" | "unit" | "kind");
        match keys.iter().find(extra).filter(|_| tag.kind == TagKind::Counting) {
            None => Ok(tag),
            Some(key) => {
                let message = format!("tag \"{}\": {key}: unknown key of a counting tag", tag.path);
                Err(self.error(self.key(at, key), message))
            }
        }
    }

    /// Reads one part of a list.
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
                "gateway.toml:18: pipeline \"desk\": webhook: must begin with http:// and a host",
            ),
            (
                "[[pipelines]]\nname = \"desk\"\nwebhook = \"https://desk/\"\n",
                "gateway.toml:18: pipeline \"desk\": webhook: https:// is not spoken",
            ),
            ("system = \n", "gateway.toml:16: "),
        ] {
            let text = error(more);
            assert!(text.starts_with(expected), "{text}\n  expected {expected}");
        }
    }
}
