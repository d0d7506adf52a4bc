//! What the types of the gateway settings cannot say. One list of rules for all ways in: a file, a
//! command, the resources; and for what is put in force.
//!
//! A mistake names its part and its key, so that whoever has the text can say the line.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::alarm::{AlarmDefinition, PipelineDefinition};
use crate::limits::{
    NAME_MAX_BYTES, PIPELINE_DELAY_MAX, TAG_PATH_MAX_BYTES, TAGS_MAX, TEXT_MAX_BYTES, URL_MAX_BYTES,
};
use crate::runtime::definitions::GatewaySettings;
use crate::tag::{TagDefinition, TagKind, TagValue};

/// Alarms of one gateway: all raised ones are sent with `opened`.
const ALARMS_MAX: usize = 10_000;
/// Pipelines of one gateway: each is a place that people look at.
const PIPELINES_MAX: usize = 1_000;

const HOST_ITEMS: &[&str] = &["cpu", "memory", "disk", "net_in", "net_out"];
const WAVES: &[&str] = &["sine", "ramp", "square", "walk", "counter"];

/// A part of the settings; the numbers are places in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What stands beside the lists.
    Top,
    /// One of the tags.
    Tag(usize),
    /// One of the alarms.
    Alarm(usize),
    /// One of the pipelines.
    Pipeline(usize),
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The part.
    pub part: Part,
    /// The part's name; empty at the top.
    pub name: String,
    /// The key in it.
    pub key: &'static str,
    /// Why, for people.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistake { part, name, key, message } = self;
        match part {
            Part::Top => write!(f, "{key}: {message}"),
            Part::Tag(_) => write!(f, "tag \"{name}\": {key}: {message}"),
            Part::Alarm(_) => write!(f, "alarm \"{name}\": {key}: {message}"),
            Part::Pipeline(_) => write!(f, "pipeline \"{name}\": {key}: {message}"),
        }
    }
}

/// The key that is wrong in a part, and why.
#[derive(Debug)]
pub(super) struct Wrong(&'static str, String);

impl Wrong {
    fn in_part(self, part: Part, name: &str) -> Mistake {
        Mistake { part, name: name.to_owned(), key: self.0, message: self.1 }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, self.1)
    }
}

impl GatewaySettings {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), Mistake> {
        self.sizes().map_err(|wrong| wrong.in_part(Part::Top, ""))?;
        let mut tags = BTreeSet::new();
        for (at, definition) in self.tags.iter().enumerate() {
            let path = &definition.path;
            let checked = tag(definition).and_then(|()| once(tags.insert(path), "path"));
            checked.map_err(|wrong| wrong.in_part(Part::Tag(at), &path.to_string()))?;
        }
        let mut pipelines = BTreeSet::new();
        for (at, definition) in self.pipelines.iter().enumerate() {
            let name = definition.name.as_str();
            let checked = pipeline(definition).and_then(|()| once(pipelines.insert(name), "name"));
            checked.map_err(|wrong| wrong.in_part(Part::Pipeline(at), name))?;
        }
        let mut alarms = BTreeSet::new();
        for (at, definition) in self.alarms.iter().enumerate() {
            let name = definition.name.as_str();
            let to = definition.pipeline.as_deref();
            let checked = alarm(definition).and_then(|()| {
                once(alarms.insert(name), "name")?;
                if !tags.contains(&definition.tag) {
                    return wrong("tag", format!("there is no tag \"{}\"", definition.tag));
                }
                match to.filter(|to| !pipelines.contains(to)) {
                    None => Ok(()),
                    Some(to) => wrong("pipeline", format!("there is no pipeline \"{to}\"")),
                }
            });
            checked.map_err(|wrong| wrong.in_part(Part::Alarm(at), name))?;
        }
        Ok(())
    }

    fn sizes(&self) -> Result<(), Wrong> {
        for (key, text) in [("system", &self.system), ("contact", &self.contact)] {
            no_longer(key, text, TEXT_MAX_BYTES)?;
        }
        for (key, count, most) in [
            ("tags", self.tags.len(), TAGS_MAX),
            ("alarms", self.alarms.len(), ALARMS_MAX),
            ("pipelines", self.pipelines.len(), PIPELINES_MAX),
        ] {
            if count > most {
                return wrong(key, format!("{count} of them, at most {most}"));
            }
        }
        Ok(())
    }
}

fn wrong(key: &'static str, message: impl Into<String>) -> Result<(), Wrong> {
    Err(Wrong(key, message.into()))
}

fn once(first: bool, key: &'static str) -> Result<(), Wrong> {
    if first { Ok(()) } else { wrong(key, "defined twice") }
}

fn no_longer(key: &'static str, text: &str, most: usize) -> Result<(), Wrong> {
    if text.len() <= most { Ok(()) } else { wrong(key, format!("longer than {most} bytes")) }
}

fn one_of(key: &'static str, value: &str, allowed: &[&str]) -> Result<(), Wrong> {
    if allowed.contains(&value) {
        return Ok(());
    }
    wrong(key, format!("\"{value}\" is not one of {}", allowed.join(", ")))
}

/// One tag by itself.
pub(super) fn tag(tag: &TagDefinition) -> Result<(), Wrong> {
    no_longer("unit", &tag.unit, NAME_MAX_BYTES)?;
    match &tag.kind {
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
                TagValue::Text(text) => no_longer("initial", text, TEXT_MAX_BYTES),
                TagValue::Bool(_) => Ok(()),
                TagValue::Int(_) | TagValue::Float(_) => match initial.as_f64() {
                    Some(value) if value.is_finite() && (low..=high).contains(&value) => Ok(()),
                    _ => wrong("initial", format!("{initial} is not from {low} to {high}")),
                },
            }
        }
        TagKind::Counting => Ok(()),
    }
}

/// One alarm by itself.
pub(super) fn alarm(alarm: &AlarmDefinition) -> Result<(), Wrong> {
    let name = &alarm.name;
    if name.is_empty() || name.len() > TAG_PATH_MAX_BYTES || name.chars().any(char::is_control) {
        return wrong("name", format!("1 to {TAG_PATH_MAX_BYTES} bytes, no control character"));
    }
    if alarm.above.is_none() && alarm.below.is_none() {
        return wrong("above", "an alarm needs above, below or both");
    }
    if !alarm.hysteresis.is_finite() || alarm.hysteresis < 0.0 {
        return wrong("hysteresis", format!("{} is not 0 or more", alarm.hysteresis));
    }
    no_longer("text", &alarm.text, TEXT_MAX_BYTES)
}

/// One pipeline by itself.
pub(super) fn pipeline(pipeline: &PipelineDefinition) -> Result<(), Wrong> {
    let name = &pipeline.name;
    if name.is_empty() || name.len() > NAME_MAX_BYTES {
        return wrong("name", format!("1 to {NAME_MAX_BYTES} bytes"));
    }
    if pipeline.webhook.starts_with("https://") {
        return wrong("webhook", "https:// is not spoken; name a relay at http:// that is");
    }
    let host = pipeline.webhook.strip_prefix("http://").unwrap_or_default();
    if host.split(['/', '?']).next().is_none_or(str::is_empty) {
        return wrong("webhook", "must begin with http:// and a host");
    }
    no_longer("webhook", &pipeline.webhook, URL_MAX_BYTES)?;
    if Duration::from_millis(pipeline.delay_ms) > PIPELINE_DELAY_MAX {
        return wrong("delay_ms", format!("above {}", PIPELINE_DELAY_MAX.as_millis()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::runtime::definitions::GatewaySettings;

    #[test]
    fn every_way_in_has_the_same_rules() {
        let simulator = |more: &str| {
            let tag = r#""path":"A","kind":"simulator","wave":"sine","period_ms":100"#;
            format!(r#"{{"tags":[{{{tag},{more}}}]}}"#)
        };
        let memory = |more: &str| format!(r#"{{"tags":[{{"path":"A","kind":"memory",{more}}}]}}"#);
        for (json, expected) in [
            (simulator(r#""low":1,"high":2"#), None),
            (simulator(r#""low":2,"high":2"#), Some("tag \"A\": low: 2 is not below high 2")),
            (simulator(r#""cycle_ms":50"#), Some("tag \"A\": cycle_ms: 50 is below period_ms")),
            (memory(r#""initial":5,"max":10"#), None),
            (
                memory(r#""initial":50,"min":0,"max":10"#),
                Some("tag \"A\": initial: 50 is not from 0 to 10"),
            ),
            (
                r#"{"alarms":[{"name":"H","tag":"A","above":1}]}"#.to_owned(),
                Some("alarm \"H\": tag: there is no tag \"A\""),
            ),
            (format!(r#"{{"system":"{}"}}"#, "x".repeat(100_000)), Some("system: longer than")),
        ] {
            let said = GatewaySettings::parse(json.as_bytes()).err();
            match expected {
                None => assert_eq!(said, None, "{json}"),
                Some(start) => {
                    assert!(said.as_ref().is_some_and(|s| s.starts_with(start)), "{said:?}");
                }
            }
        }
    }
}
