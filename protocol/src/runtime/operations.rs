//! What operations do: writes, properties, pages. Those on alarms are in `alarms`.

use crate::gateway::input::Items;
use crate::item::ItemKey;
use crate::limits::{COUNTED_IDS_MAX, PROPS_MAX_BYTES, TAG_PATH_MAX_BYTES, TEXT_MAX_BYTES};
use crate::runtime::alarms::{self, Said};
use crate::runtime::definitions::page_exists;
use crate::runtime::execute::text_of;
use crate::runtime::records::{self, Counted, Object, SessionRecord, TagRecord};
use crate::runtime::step::Step;
use crate::session::{Operation, Outcome, SessionId, WriteId};
use crate::tag::{Quality, TagKind, TagPath, TagValue};

/// Who operates.
pub(super) enum Author<'a> {
    /// A session, with the operation's id.
    Session { session: &'a SessionId, id: WriteId },
    /// An HTTP client, with the request's key.
    Key(&'a str),
}

impl Author<'_> {
    pub(super) fn name(&self) -> Option<String> {
        match self {
            Author::Session { session, .. } => Some(session.0.clone()),
            Author::Key(_) => None,
        }
    }

    /// Names the operation at a counting tag.
    fn counted(&self, tag: &TagPath) -> String {
        match self {
            Author::Session { session, id } => format!("{tag}/{session}:{}", id.0),
            Author::Key(key) => format!("{tag}/key:{key}"),
        }
    }
}

/// A name that a client has said, as an outcome repeats it: outcomes are stored, and a name that
/// is longer than any that exists is cut.
pub(super) fn shown(name: &str) -> &str {
    &name[..name.floor_char_boundary(TAG_PATH_MAX_BYTES)]
}

pub(super) fn reject(reason: String) -> Outcome {
    Outcome::Rejected { reason }
}

/// Runs a write, or what is done to an alarm.
pub(super) fn run(step: &mut Step<'_>, author: &Author<'_>, operation: &Operation) -> Outcome {
    match operation {
        Operation::Write { tag, value } => write(step, author, tag, value),
        Operation::Ack { alarm, raise, who, note } => {
            let said = Said { author, who: who.as_deref(), note: note.as_deref() };
            alarms::ack(step, &said, alarm, *raise)
        }
        Operation::Shelve { alarm, seconds, who, note } => {
            let said = Said { author, who: who.as_deref(), note: note.as_deref() };
            alarms::shelve(step, &said, alarm, *seconds)
        }
        Operation::Unshelve { alarm } => alarms::unshelve(step, alarm),
        Operation::Props { .. } | Operation::Page { .. } => {
            reject("only a session has properties and a page".to_owned())
        }
    }
}

fn write(step: &mut Step<'_>, author: &Author<'_>, tag: &str, value: &TagValue) -> Outcome {
    let Some(definition) = step.definitions.tag(tag) else {
        return reject(format!("tag \"{}\" does not exist", shown(tag)));
    };
    let path = &definition.path;
    let value = match &definition.kind {
        TagKind::Memory { initial, min, max } => match fit(value, initial, *min, *max) {
            Ok(value) => value,
            Err(problem) => return reject(format!("tag \"{tag}\": {problem}")),
        },
        TagKind::Counting => count(step, author, path),
        TagKind::Host { .. } | TagKind::Simulator { .. } => {
            return reject(format!("tag \"{tag}\" is not written by operators"));
        }
    };
    let record = TagRecord { value, quality: Quality::Good, time: step.wall, by: author.name() };
    step.put(records::tag_key(path), records::encode(&record));
    Outcome::Applied
}

/// The value as the tag keeps it, if it may be written.
fn fit(
    value: &TagValue,
    initial: &TagValue,
    min: Option<f64>,
    max: Option<f64>,
) -> Result<TagValue, String> {
    let fitted = match (initial, value) {
        (TagValue::Bool(_), TagValue::Bool(_)) | (TagValue::Int(_), TagValue::Int(_)) => {
            value.clone()
        }
        (TagValue::Float(_), TagValue::Int(_) | TagValue::Float(_)) => {
            match value.as_f64().filter(|x| x.is_finite()) {
                Some(x) => TagValue::Float(x),
                None => return Err("the value is not a number".to_owned()),
            }
        }
        (TagValue::Text(_), TagValue::Text(text)) => {
            if text.len() > TEXT_MAX_BYTES {
                return Err(format!("the text is longer than {TEXT_MAX_BYTES} bytes"));
            }
            value.clone()
        }
        (TagValue::Bool(_), _) => return Err("the value must be true or false".to_owned()),
        (TagValue::Int(_), _) => return Err("the value must be a whole number".to_owned()),
        (TagValue::Float(_), _) => return Err("the value must be a number".to_owned()),
        (TagValue::Text(_), _) => return Err("the value must be a text".to_owned()),
    };
    let number = if matches!(fitted, TagValue::Text(_)) { None } else { fitted.as_f64() };
    if let (Some(x), Some(min)) = (number, min)
        && x < min
    {
        return Err(format!("{fitted} is below the least value {min}"));
    }
    if let (Some(x), Some(max)) = (number, max)
        && x > max
    {
        return Err(format!("{fitted} is above the greatest value {max}"));
    }
    Ok(fitted)
}

/// Counts one application and remembers its id; the new value is the number of applications.
fn count(step: &mut Step<'_>, author: &Author<'_>, tag: &TagPath) -> TagValue {
    let name = author.counted(tag);
    let key = ItemKey::new("counted", name.clone());
    let before = records::get::<Counted>(step.kept, &key).map_or(0, |counted| counted.times);
    if before == 0 {
        // No path holds a tab, so rings of different tags cannot meet.
        let prefix = format!("{tag}\t");
        for fallen in step.remember("counted_order", &prefix, COUNTED_IDS_MAX, &name) {
            step.delete(ItemKey::new("counted", fallen));
        }
    }
    step.put(key, records::encode(&Counted { times: before.saturating_add(1) }));
    let total = match records::get::<TagRecord>(step.kept, &records::tag_key(tag)) {
        Some(TagRecord { value: TagValue::Int(total), .. }) => total,
        Some(_) | None => 0,
    };
    TagValue::Int(total.saturating_add(1))
}

/// Sets properties of a session; a null deletes one.
pub(super) fn set_props(record: &mut SessionRecord, props: &Object) -> Outcome {
    let mut all = record.props();
    for (name, value) in props {
        if value.is_null() {
            all.remove(name);
        } else {
            all.insert(name.clone(), value.clone());
        }
    }
    let text = text_of(&all);
    if text.len() > PROPS_MAX_BYTES {
        return reject(format!("props would be longer than {PROPS_MAX_BYTES} bytes"));
    }
    record.props = text;
    Outcome::Applied
}

/// Goes to another page of the session's project.
pub(super) fn go(
    config: &Items,
    record: &mut SessionRecord,
    page: &str,
    params: &Object,
) -> Outcome {
    if !page_exists(config, &record.project, page) {
        return reject(format!("page \"{}\" does not exist", shown(page)));
    }
    let text = text_of(params);
    if text.len() > PROPS_MAX_BYTES {
        return reject(format!("params are longer than {PROPS_MAX_BYTES} bytes"));
    }
    page.clone_into(&mut record.page);
    record.params = text;
    Outcome::Applied
}
