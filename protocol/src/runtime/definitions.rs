//! What tags and alarms there are: read from the config items.
//!
//! A definition that cannot be read is left out and named in `problems`; the others stay in force.
//! Whoever puts settings into the store checks them first with [`GatewaySettings::parse`].

mod check;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alarm::{AlarmDefinition, PipelineDefinition};
use crate::gateway::input::Items;
use crate::item::ItemKey;
use crate::limits::NAME_MAX_BYTES;
pub use crate::runtime::definitions::check::{Mistake, Part};
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
        settings.check().map_err(|mistake| mistake.to_string())?;
        Ok(settings)
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
            match tag.and_then(|tag| check::tag(&tag).map(|()| tag).map_err(|e| e.to_string())) {
                Ok(tag) => {
                    definitions.tags.insert(tag.path.clone(), tag);
                }
                Err(problem) => definitions.problems.push(format!("a tag is left out: {problem}")),
            }
        }
        for value in stored.alarms {
            let alarm = serde_json::from_value::<AlarmDefinition>(value).map_err(|e| e.to_string());
            match alarm.and_then(|a| check::alarm(&a).map(|()| a).map_err(|e| e.to_string())) {
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
            match pipeline.and_then(|p| check::pipeline(&p).map(|()| p).map_err(|e| e.to_string()))
            {
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
