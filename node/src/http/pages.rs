//! `/p/{project}/...`: pages and assets of projects, as the store holds them.
//!
//! A standby serves them too, so that a browser can load there and wait or be led on. Nothing is
//! put into a page: its author includes the SDK.

use std::fmt::Write as _;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use tandem_protocol::gateway::input::Items;
use tandem_protocol::item::{Item, ItemKey, Kind};
use tandem_protocol::runtime::definitions::file_key;

use super::State;
use super::front::{self, escape};
use super::reply::{self, Failure, File, Keep, Reply};
use super::router::decode;
use crate::projects::PROJECT;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// A project as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) name: String,
    pub(super) title: String,
    /// The page that `/p/{project}` leads to.
    pub(super) start: Option<String>,
    pub(super) pages: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProjectFile {
    title: String,
    start: Option<String>,
}

pub(super) fn answer(state: &State, rest: &str, headers: &HeaderMap) -> Result<Reply, Failure> {
    let items = state.rooms.driver.items(Kind::Config);
    let mut parts = rest.splitn(3, '/');
    let project = decode(parts.next().unwrap_or_default())?;
    match (parts.next(), parts.next()) {
        (None | Some(""), None) => start(&items, &project),
        (Some("assets"), Some(path)) => {
            let path = decode(path)?;
            let item = items.get(&file_key(&project, &format!("assets/{path}")));
            let item = item.ok_or_else(|| missing(&items, &project, "asset", &path))?;
            Ok(file(headers, item, reply::kind_of(&path)))
        }
        (Some(page), None | Some("")) => {
            let page = decode(page)?;
            let item = items.get(&file_key(&project, &format!("pages/{page}.html")));
            let item = item.ok_or_else(|| missing(&items, &project, "page", &page))?;
            Ok(file(headers, item, HTML))
        }
        (_, Some(_)) => {
            let page = rest.split_once('/').map_or(rest, |(_, page)| page);
            Err(missing(&items, &project, "page", page))
        }
    }
}

fn start(items: &Items, project: &str) -> Result<Reply, Failure> {
    match one(items, project) {
        None => Err(missing(items, project, "page", "")),
        Some(Project { start: Some(start), .. }) => {
            Ok(reply::redirect(&format!("/p/{project}/{start}")))
        }
        Some(_) => Err(Failure::not_found(format!("project {project} has no start page"))),
    }
}

/// Names what there is none of: the project, or something in it.
fn missing(items: &Items, project: &str, what: &str, name: &str) -> Failure {
    if one(items, project).is_none() {
        return Failure::not_found(format!("there is no project {project}"));
    }
    Failure::not_found(format!("project {project} has no {what} {name}"))
}

fn file(headers: &HeaderMap, item: &Item, kind: HeaderValue) -> Reply {
    // The update that last changed an item names its content, on both nodes.
    let tag = format!("{}-{}", item.changed.activation, item.changed.sequence);
    reply::file(headers, File { body: item.body.clone(), kind, tag, keep: Keep::Ask })
}

fn one(items: &Items, project: &str) -> Option<Project> {
    let prefix = format!("{project}/");
    let mut keys = items
        .range(ItemKey::new(PROJECT, prefix.as_str())..)
        .map(|(key, _)| key)
        .take_while(|key| key.provider == PROJECT && key.key.starts_with(&prefix))
        .peekable();
    keys.peek()?;
    let pages: Vec<String> = keys
        .filter_map(|key| {
            let page = key.key.strip_prefix(&prefix)?.strip_prefix("pages/")?;
            page.strip_suffix(".html").map(str::to_owned)
        })
        .collect();
    let file = items.get(&file_key(project, "project.toml"));
    let file = file
        .and_then(|item| std::str::from_utf8(&item.body).ok())
        .and_then(|text| toml::from_str::<ProjectFile>(text).ok())
        .unwrap_or_default();
    let start = file.start.filter(|start| pages.contains(start)).or_else(|| pages.first().cloned());
    let title = if file.title.is_empty() { project.to_owned() } else { file.title };
    Some(Project { name: project.to_owned(), title, start, pages })
}

/// All projects of this gateway.
pub(super) fn all(items: &Items) -> Vec<Project> {
    let mut projects: Vec<Project> = Vec::new();
    let first = ItemKey::new(PROJECT, "");
    for (key, _) in items.range(first..).take_while(|(key, _)| key.provider == PROJECT) {
        let Some((name, _)) = key.key.split_once('/') else { continue };
        if projects.last().is_none_or(|last| last.name != name) {
            projects.extend(one(items, name));
        }
    }
    projects
}

/// Whether whoever asks would read a page rather than JSON.
pub(super) fn wants_page(path: &str, headers: &HeaderMap) -> bool {
    let html = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("text/html"));
    html && !path.starts_with("/data/") && !path.starts_with("/sdk/")
}

/// 404 for people, with what there is.
pub(super) fn not_found(state: &State, reason: &str) -> Reply {
    let mut body =
        format!("<section class=card><p>What was asked for is not here: {}.</p>", escape(reason));
    let projects = all(&state.rooms.driver.items(Kind::Config));
    if !projects.is_empty() {
        body.push_str("<p>This gateway has:</p>");
        for project in projects {
            let _ = write!(body, "{}", front::project(&project));
        }
    }
    body.push_str("</section>");
    reply::html(StatusCode::NOT_FOUND, front::frame("Not here", &body, None))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use tandem_protocol::gateway::input::Items;
    use tandem_protocol::item::{Item, ItemKey, Position};

    use super::{all, one, wants_page};
    use crate::projects::PROJECT;

    fn items(keys: &[(&str, &str)]) -> Items {
        keys.iter()
            .map(|(key, body)| {
                let body = Bytes::copy_from_slice(body.as_bytes());
                (ItemKey::new(PROJECT, *key), Item { body, changed: Position::default() })
            })
            .collect()
    }

    #[test]
    fn projects_are_listed_with_their_pages() {
        let items = items(&[
            ("demo/assets/logo.svg", ""),
            ("demo/pages/alarms.html", ""),
            ("demo/pages/main.html", ""),
            ("demo/project.toml", "title = \"Plant\"\nstart = \"main\"\n"),
            ("demo2/pages/x.html", ""),
        ]);
        let projects = all(&items);
        let names: Vec<_> = projects.iter().map(|p| (p.name.as_str(), p.title.as_str())).collect();
        assert_eq!(names, [("demo", "Plant"), ("demo2", "demo2")]);
        let demo = one(&items, "demo").unwrap();
        assert_eq!(demo.start.as_deref(), Some("main"));
        assert_eq!(demo.pages, ["alarms", "main"]);
        assert_eq!(one(&items, "demo2").unwrap().start.as_deref(), Some("x"));
        assert_eq!(one(&items, "de"), None);
    }

    #[test]
    fn programs_get_json_and_people_get_pages() {
        let mut headers = HeaderMap::new();
        assert!(!wants_page("/p/x/y", &headers));
        headers.insert("accept", "text/html,*/*;q=0.8".parse().unwrap());
        assert!(wants_page("/p/x/y", &headers));
        assert!(!wants_page("/data/api/v1/tags", &headers));
    }
}
