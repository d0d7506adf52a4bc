//! Whether changes of config may enter the store: names, sizes, and that what they make can be put
//! in force.
//!
//! Looked at is the state *after* the changes, and in it only what they touch, so that one old
//! mistake does not stop the change that mends it. Replication and storing belong to others.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tandem_protocol::gateway::input::Items;
use tandem_protocol::item::{Change, ItemKey};
use tandem_protocol::limits::ITEM_MAX_BYTES;
use tandem_protocol::limits::TAG_PATH_MAX_BYTES;
use tandem_protocol::runtime::Definitions;
use tandem_protocol::runtime::definitions::{GatewaySettings, file_key, settings_key};

use super::folder::{DEPTH_MAX, FILES_MAX, FOLDER_MAX_BYTES, is_name, is_toml, start_of};
use super::{PROJECT, SETTINGS};

/// Why changes may not enter the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Which item, where it is one.
    pub key: Option<ItemKey>,
    /// What kind of mistake.
    pub what: What,
    /// What is wrong, for people.
    pub reason: String,
}

/// What kind of mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// There is no such provider of config, or it has no place of that name.
    NoPlace,
    /// More than a pair can hold, or than travels in one piece.
    TooLarge,
    /// It could not be put in force.
    Invalid,
}

impl Wrong {
    fn new(key: &ItemKey, what: What, reason: impl Into<String>) -> Wrong {
        Wrong { key: Some(key.clone()), what, reason: reason.into() }
    }
}

/// Checks changes against what is stored.
///
/// # Errors
/// The first mistake.
pub fn check(changes: &[Change], stored: &Items) -> Result<(), Wrong> {
    let mut after: BTreeMap<&ItemKey, Option<&Bytes>> = BTreeMap::new();
    for Change { key, body } in changes {
        place(key)?;
        let size = body.as_ref().map_or(0, Bytes::len);
        if size > ITEM_MAX_BYTES {
            let reason = format!("{size} bytes: one item has at most {ITEM_MAX_BYTES}");
            return Err(Wrong::new(key, What::TooLarge, reason));
        }
        if after.insert(key, body.as_ref()).is_some() {
            return Err(Wrong::new(key, What::Invalid, "is changed twice at once"));
        }
    }
    totals(&after, stored)?;
    let body = |key: &ItemKey| match after.get(key) {
        Some(changed) => *changed,
        None => stored.get(key).map(|item| &item.body),
    };
    let mut projects = BTreeSet::new();
    for key in after.keys() {
        if **key == settings_key() {
            if let Some(json) = body(key) {
                GatewaySettings::parse(json).map_err(|e| Wrong::new(key, What::Invalid, e))?;
            }
        } else if let Some((project, _)) = key.key.split_once('/') {
            projects.insert(project);
        }
    }
    for project in projects {
        let key = file_key(project, "project.toml");
        let Some(toml) = body(&key) else { continue };
        let start = start_of(toml).map_err(|e| Wrong::new(&key, What::Invalid, e))?;
        if body(&file_key(project, &format!("pages/{start}.html"))).is_none() {
            let reason = format!("start: there is no page pages/{start}.html");
            return Err(Wrong::new(&key, What::Invalid, reason));
        }
    }
    Ok(())
}

/// Whether a stored item can be put in force at all. What a newer version wrote can, and so can what
/// is only incomplete; items of other providers are their own matter.
///
/// # Errors
/// What is wrong with it.
pub fn applies(key: &ItemKey, body: &[u8]) -> Result<(), String> {
    if *key == settings_key() {
        return Definitions::readable(body);
    }
    match key.key.split_once('/') {
        Some((_, "project.toml")) if key.provider == PROJECT => is_toml(body),
        Some(_) | None => Ok(()),
    }
}

fn totals(after: &BTreeMap<&ItemKey, Option<&Bytes>>, stored: &Items) -> Result<(), Wrong> {
    let kept = stored.iter().filter(|(key, _)| !after.contains_key(key));
    let kept = kept.map(|(_, item)| item.body.len());
    let put = after.values().filter_map(|body| body.map(Bytes::len));
    let (files, bytes) = kept.chain(put).fold((0, 0), |(n, sum), size| (n + 1, sum + size));
    let reason = if files > FILES_MAX {
        format!("{files} items of config: at most {FILES_MAX}")
    } else if bytes > FOLDER_MAX_BYTES {
        format!("{bytes} bytes of config: at most {FOLDER_MAX_BYTES}")
    } else {
        return Ok(());
    };
    Err(Wrong { key: None, what: What::TooLarge, reason })
}

/// Whether an item has a place: its provider knows such names.
fn place(key: &ItemKey) -> Result<(), Wrong> {
    let wrong = |reason: String| Err(Wrong::new(key, What::NoPlace, reason));
    match key.provider.as_str() {
        SETTINGS if *key == settings_key() => Ok(()),
        SETTINGS => wrong("the provider settings has one item, gateway".to_owned()),
        PROJECT => file(&key.key).or_else(|reason| wrong(reason.to_owned())),
        module if crate::modules::BUILT_IN.contains(&module) => {
            let right = (1..=TAG_PATH_MAX_BYTES).contains(&key.key.len())
                && !key.key.chars().any(char::is_control);
            if right { Ok(()) } else { wrong("its key is empty, too long or odd".to_owned()) }
        }
        other => wrong(format!("there is no provider of config called {other}")),
    }
}

/// Whether a project's file has a place; the same rules as for folders.
fn file(key: &str) -> Result<(), &'static str> {
    let parts: Vec<&str> = key.split('/').collect();
    if let Some(project) = parts.first()
        && !is_name(project)
    {
        return Err("the project's name is not 1 to 64 of a-z A-Z 0-9 - _ .");
    }
    match parts.as_slice() {
        [_, "project.toml"] => Ok(()),
        [_, "pages", page] => match page.strip_suffix(".html") {
            Some("assets") => Err("a page cannot be called assets"),
            Some(page) if is_name(page) => Ok(()),
            Some(_) => Err("the page's name is not 1 to 64 of a-z A-Z 0-9 - _ ."),
            None => Err("pages are files that end in .html"),
        },
        [_, "assets", path @ ..] if !path.is_empty() => {
            if path.len() > DEPTH_MAX {
                return Err("too many folders inside each other (8 at most)");
            }
            let right = |part: &&str| {
                (1..=255).contains(&part.len())
                    && !part.starts_with('.')
                    && !part.chars().any(char::is_control)
            };
            match path.iter().all(right) {
                true => Ok(()),
                false => Err("a part of the name is empty, hidden, or has control characters"),
            }
        }
        _ => Err("a project has project.toml, pages/*.html and assets/*"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tandem_protocol::gateway::input::Items;
    use tandem_protocol::item::{Change, Item, ItemKey, Position};
    use tandem_protocol::limits::ITEM_MAX_BYTES;

    use super::{What, check};

    fn put(provider: &str, key: &str, body: &str) -> Change {
        let body = Some(Bytes::copy_from_slice(body.as_bytes()));
        Change { key: ItemKey::new(provider, key), body }
    }

    fn delete(provider: &str, key: &str) -> Change {
        Change { key: ItemKey::new(provider, key), body: None }
    }

    fn stored() -> Items {
        [
            ("project", "demo/project.toml", "start = \"main\"\n"),
            ("project", "demo/pages/main.html", "x"),
            ("project", "odd/project.toml", "start = "),
        ]
        .into_iter()
        .map(|(provider, key, body)| {
            let item =
                Item { body: Bytes::from_static(body.as_bytes()), changed: Position::default() };
            (ItemKey::new(provider, key), item)
        })
        .collect()
    }

    #[test]
    fn what_could_not_be_put_in_force_is_refused_and_named() {
        let large = "x".repeat(ITEM_MAX_BYTES + 1);
        let rows: &[(Vec<Change>, What, &str)] = &[
            (vec![put("tags", "x", "")], What::NoPlace, "no provider of config called tags"),
            (vec![put("settings", "other", "{}")], What::NoPlace, "has one item, gateway"),
            (vec![put("project", "a b/project.toml", "")], What::NoPlace, "the project's name"),
            (vec![put("project", "../project.toml", "")], What::NoPlace, "the project's name"),
            (vec![put("project", "demo/assets/../x", "")], What::NoPlace, "a part of the name"),
            (vec![put("project", "demo/assets", "")], What::NoPlace, "a project has"),
            (vec![put("project", "demo/pages/a.txt", "")], What::NoPlace, "end in .html"),
            (vec![put("project", "demo/assets/x", &large)], What::TooLarge, "2097153 bytes"),
            (vec![put("settings", "gateway", "{\"colour\":1}")], What::Invalid, "colour"),
            (vec![put("project", "demo/project.toml", "start = ")], What::Invalid, ":1: "),
            (
                vec![put("project", "demo/project.toml", "start = \"away\"")],
                What::Invalid,
                "no page pages/away.html",
            ),
            (
                vec![delete("project", "demo/pages/main.html")],
                What::Invalid,
                "no page pages/main.html",
            ),
            (
                vec![put("project", "demo/assets/x", "1"), delete("project", "demo/assets/x")],
                What::Invalid,
                "twice",
            ),
        ];
        for (changes, what, reason) in rows {
            let wrong = check(changes, &stored()).unwrap_err();
            assert_eq!(wrong.what, *what, "{wrong:?}");
            assert!(wrong.reason.contains(reason), "{wrong:?} does not say {reason}");
        }
    }

    #[test]
    fn what_is_touched_must_be_right_after_the_change_and_nothing_else() {
        let right = [
            vec![put("project", "demo/assets/a b/logo.svg", "x")],
            vec![put("project", "new/pages/main.html", "x")],
            vec![
                put("project", "odd/project.toml", "start = \"a\""),
                put("project", "odd/pages/a.html", ""),
            ],
            vec![delete("project", "demo/project.toml"), delete("project", "demo/pages/main.html")],
            vec![put("settings", "gateway", "{\"system\":\"Plant\"}")],
        ];
        for changes in right {
            assert_eq!(check(&changes, &stored()), Ok(()), "{changes:?}");
        }
    }
}
