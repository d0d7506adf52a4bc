//! What tags and alarms there are: read from the config items.
//!
//! A definition that cannot be read is left out and named in `problems`; the others stay in force.
//! Whoever puts settings into the store checks them first with [`GatewaySettings::parse`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::{AlarmDefinition, PipelineDefinition};
use crate::gateway::input::Items;
use crate::item::ItemKey;
use crate::limits::{NAME_MAX_BYTES, PIPELINE_DELAY_MAX, URL_MAX_BYTES};
use crate::tag::{Quality, Sample, TagDefinition, TagKind, TagPath, TagValue};
use crate::time::UnixMs;

/// The shared gateway settings as they are stored: JSON, provider `settings`, key `gateway`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySettings {
    /// The system's name, for people.
    pub system: String,
    /// Whom to tell, shown in notices.
    pub contact: String,
    /// The tags.
    pub tags: Vec<TagDefinition>,
    /// The alarms.
    pub alarms: Vec<AlarmDefinition>,
    /// Whom to tell of raises.
    pub pipelines: Vec<PipelineDefinition>,
}

impl GatewaySettings {
    /// Reads settings strictly.
    ///
    /// # Errors
    /// What is wrong, naming the tag, the alarm or the place in the text.
    pub fn parse(json: &[u8]) -> Result<GatewaySettings, String> {
        let settings: GatewaySettings = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        settings.check()?;
        Ok(settings)
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// What is wrong, naming the tag or the alarm.
    pub fn check(&self) -> Result<(), String> {
        let mut tags = BTreeMap::new();
        for tag in &self.tags {
            check_tag(tag)?;
            if tags.insert(&tag.path, ()).is_some() {
                return Err(format!("tag \"{}\" is defined twice", tag.path));
            }
        }
        let mut pipelines = BTreeMap::new();
        for pipeline in &self.pipelines {
            check_pipeline(pipeline)?;
            if pipelines.insert(&pipeline.name, ()).is_some() {
                return Err(format!("pipeline \"{}\" is defined twice", pipeline.name));
            }
        }
        let mut alarms = BTreeMap::new();
        for alarm in &self.alarms {
            check_alarm(alarm)?;
            if let Some(pipeline) = &alarm.pipeline
                && !pipelines.contains_key(pipeline)
            {
                return Err(format!(
                    "alarm \"{}\" names \"{pipeline}\", which is not a pipeline",
                    alarm.name
                ));
            }
            if !tags.contains_key(&alarm.tag) {
                return Err(format!(
                    "alarm \"{}\" watches \"{}\", which is not a tag",
                    alarm.name, alarm.tag
                ));
            }
            if alarms.insert(&alarm.name, ()).is_some() {
                return Err(format!("alarm \"{}\" is defined twice", alarm.name));
            }
        }
        Ok(())
    }
}

/// The definitions in force.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Definitions {
    /// The system's name, for people.
    pub system: String,
    /// Whom to tell, shown in notices.
    pub contact: String,
    /// The tags.
    pub tags: BTreeMap<TagPath, TagDefinition>,
    /// The alarms.
    pub alarms: BTreeMap<String, AlarmDefinition>,
    /// Whom to tell of raises.
    pub pipelines: BTreeMap<String, PipelineDefinition>,
    /// What could not be read.
    pub problems: Vec<String>,
}

/// Names the item that holds the shared gateway settings.
pub fn settings_key() -> ItemKey {
    ItemKey::new("settings", "gateway")
}

/// Names the item of a file of a project, such as `pages/overview.html`.
pub fn file_key(project: &str, file: &str) -> ItemKey {
    ItemKey::new("project", format!("{project}/{file}"))
}

/// Whether a page exists: its item does.
pub fn page_exists(config: &Items, project: &str, page: &str) -> bool {
    let plain = |name: &str| (1..=NAME_MAX_BYTES).contains(&name.len()) && !name.contains('/');
    plain(project)
        && plain(page)
        && config.contains_key(&file_key(project, &format!("pages/{page}.html")))
}

impl Definitions {
    /// Reads the definitions that the config items hold.
    pub fn read(config: &Items) -> Definitions {
        let mut definitions = Definitions::default();
        let Some(item) = config.get(&settings_key()) else { return definitions };
        let stored: Stored = match serde_json::from_slice(&item.body) {
            Ok(stored) => stored,
            Err(error) => {
                definitions.problems.push(format!("settings cannot be read: {error}"));
                return definitions;
            }
        };
        definitions.system = stored.system;
        definitions.contact = stored.contact;
        for value in stored.tags {
            let tag = serde_json::from_value::<TagDefinition>(value).map_err(|e| e.to_string());
            match tag.and_then(|tag| check_tag(&tag).map(|()| tag)) {
                Ok(tag) => {
                    definitions.tags.insert(tag.path.clone(), tag);
                }
                Err(problem) => definitions.problems.push(format!("a tag is left out: {problem}")),
            }
        }
        for value in stored.alarms {
            let alarm = serde_json::from_value::<AlarmDefinition>(value).map_err(|e| e.to_string());
            match alarm.and_then(|alarm| check_alarm(&alarm).map(|()| alarm)) {
                Ok(alarm) => {
                    definitions.alarms.insert(alarm.name.clone(), alarm);
                }
                Err(problem) => {
                    definitions.problems.push(format!("an alarm is left out: {problem}"));
                }
            }
        }
        for value in stored.pipelines {
            let pipeline = serde_json::from_value::<PipelineDefinition>(value);
            let pipeline = pipeline.map_err(|e| e.to_string());
            match pipeline.and_then(|p| check_pipeline(&p).map(|()| p)) {
                Ok(pipeline) => {
                    definitions.pipelines.insert(pipeline.name.clone(), pipeline);
                }
                Err(problem) => {
                    definitions.problems.push(format!("a pipeline is left out: {problem}"));
                }
            }
        }
        definitions
    }

    /// Whether stored settings can be read at all, also those of a newer version.
    ///
    /// # Errors
    /// What is wrong, with its place in the text.
    pub fn readable(json: &[u8]) -> Result<(), String> {
        serde_json::from_slice::<Stored>(json).map(drop).map_err(|e| e.to_string())
    }

    /// The tag of this path, as a client names it.
    pub fn tag(&self, path: &str) -> Option<&TagDefinition> {
        self.tags.get(&path.parse::<TagPath>().ok()?)
    }

    /// The value of a kept tag before anything was written to it; `None` for live tags.
    pub fn initial(&self, path: &TagPath) -> Option<Sample> {
        let value = match &self.tags.get(path)?.kind {
            TagKind::Memory { initial, .. } => initial.clone(),
            TagKind::Counting => TagValue::Int(0),
            TagKind::Host { .. } | TagKind::Simulator { .. } => return None,
        };
        Some(Sample { value, quality: Quality::Good, time: UnixMs(0) })
    }
}

/// As [`GatewaySettings`], but with definitions that may come from a newer version.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Stored {
    system: String,
    contact: String,
    tags: Vec<serde_json::Value>,
    alarms: Vec<serde_json::Value>,
    pipelines: Vec<serde_json::Value>,
}

fn check_tag(tag: &TagDefinition) -> Result<(), String> {
    let path = &tag.path;
    match &tag.kind {
        TagKind::Host { item } => {
            if !["cpu", "memory", "disk", "net_in", "net_out"].contains(&item.as_str()) {
                return Err(format!("tag \"{path}\": \"{item}\" is not an item of the host"));
            }
        }
        TagKind::Simulator { wave, period_ms, low, high, cycle_ms } => {
            if !["sine", "ramp", "square", "walk", "counter"].contains(&wave.as_str()) {
                return Err(format!("tag \"{path}\": \"{wave}\" is not a wave"));
            }
            if !(10..=10_000).contains(period_ms) {
                return Err(format!("tag \"{path}\": period_ms must be from 10 to 10000"));
            }
            if *cycle_ms == 0 || !low.is_finite() || !high.is_finite() || low > high {
                return Err(format!("tag \"{path}\": its range or its cycle is empty"));
            }
        }
        TagKind::Memory { min, max, .. } => {
            if matches!((min, max), (Some(min), Some(max)) if min > max) {
                return Err(format!("tag \"{path}\": min is above max"));
            }
        }
        TagKind::Counting => {}
    }
    Ok(())
}

fn check_alarm(alarm: &AlarmDefinition) -> Result<(), String> {
    let name = &alarm.name;
    if name.is_empty() || name.len() > crate::limits::TAG_PATH_MAX_BYTES {
        return Err(format!("alarm \"{name}\": its name is empty or too long"));
    }
    if alarm.above.is_none() && alarm.below.is_none() {
        return Err(format!("alarm \"{name}\" has no limit: set above or below"));
    }
    if !alarm.hysteresis.is_finite() || alarm.hysteresis < 0.0 {
        return Err(format!("alarm \"{name}\": hysteresis must not be negative"));
    }
    Ok(())
}

fn check_pipeline(pipeline: &PipelineDefinition) -> Result<(), String> {
    let name = &pipeline.name;
    if name.is_empty() || name.len() > NAME_MAX_BYTES {
        return Err(format!("pipeline \"{name}\": its name is empty or too long"));
    }
    if pipeline.webhook.starts_with("https://") {
        return Err(format!(
            "pipeline \"{name}\": webhook: https:// is not spoken; name a relay at http:// that is"
        ));
    }
    let host = pipeline.webhook.strip_prefix("http://").unwrap_or_default();
    if host.split(['/', '?']).next().is_none_or(str::is_empty) {
        return Err(format!("pipeline \"{name}\": webhook must begin with http:// and a host"));
    }
    if pipeline.webhook.len() > URL_MAX_BYTES {
        return Err(format!("pipeline \"{name}\": webhook is longer than {URL_MAX_BYTES} bytes"));
    }
    if Duration::from_millis(pipeline.delay_ms) > PIPELINE_DELAY_MAX {
        let most = PIPELINE_DELAY_MAX.as_millis();
        return Err(format!("pipeline \"{name}\": delay_ms is above {most}"));
    }
    Ok(())
}
