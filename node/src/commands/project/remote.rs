//! The config that a node holds, as its resources API lists it.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tandem_protocol::item::ItemKey;

use super::{Client, Error, Result, at_master};
use crate::commands::client::Ask;
use crate::projects::{PROJECT, SETTINGS};

const RESOURCES: &str = "/data/api/v1/resources";
/// What may stand in a path as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');

/// What is known of an item.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Listed {
    /// Its ETag.
    pub(super) etag: String,
    /// Its size.
    pub(super) bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub(super) sha256: String,
}

/// All items of projects and settings.
#[derive(Debug, Clone, Default)]
pub(super) struct Remote {
    /// The items.
    pub(super) items: BTreeMap<ItemKey, Listed>,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    key: String,
    #[serde(flatten)]
    listed: Listed,
}

impl Remote {
    /// Reads what the node holds.
    pub(super) async fn read(client: &mut Client) -> Result<Remote> {
        let mut remote = Remote::default();
        for provider in [SETTINGS, PROJECT] {
            let got = client.get(&format!("{RESOURCES}/{provider}")).await?.ok()?;
            let page: Page = got.json()?;
            let items = page.items.into_iter().map(|r| (ItemKey::new(provider, r.key), r.listed));
            remote.items.extend(items);
        }
        Ok(remote)
    }
}

/// Whether config can be changed at this node.
///
/// # Errors
/// It cannot: the text names the master, and the command that reaches it.
pub(super) async fn must_be_master(client: &mut Client) -> Result<()> {
    let all: serde_json::Value = client.get(RESOURCES).await?.ok()?.json()?;
    if all.pointer("/metadata/changeable") != Some(&serde_json::Value::Bool(false)) {
        return Ok(());
    }
    let master = all.pointer("/metadata/master").cloned().unwrap_or_default();
    let text = |key: &str| master.get(key).and_then(serde_json::Value::as_str);
    let reason = match (text("node"), text("url")) {
        (Some(node), Some(url)) => {
            format!("{}: config is changed on the master: node {node} at {url}", client.url())
        }
        _ => format!("{}: config is changed on the master", client.url()),
    };
    Err(at_master(Error::Refused {
        status: http::StatusCode::CONFLICT,
        word: "not_master".to_owned(),
        reason,
        body: serde_json::json!({ "master": master }),
    }))
}

/// An item's bytes.
pub(super) async fn get(client: &mut Client, key: &ItemKey) -> Result<Bytes> {
    let name = utf8_percent_encode(&key.key, PLAIN);
    let path = format!("{RESOURCES}/{}/{name}", key.provider);
    Ok(client.get(&path).await?.ok()?.body)
}

/// What became of a batch.
#[derive(Debug, Deserialize)]
pub(super) struct Taken {
    /// How many nodes hold it.
    pub(super) copies: u8,
    /// The items after it.
    pub(super) items: Vec<TakenItem>,
}

/// One item after a batch.
#[derive(Debug, Deserialize)]
pub(super) struct TakenItem {
    pub(super) provider: String,
    pub(super) key: String,
    /// `None`: gone, or changed again by somebody else.
    pub(super) etag: Option<String>,
}

/// Sends changes as one update.
///
/// # Errors
/// [`Error::Changed`] where somebody else was faster.
pub(super) async fn send(client: &mut Client, changes: &serde_json::Value) -> Result<Taken> {
    let got = client.send(Ask::new(Method::POST, RESOURCES).json(changes)).await?.ok();
    match got {
        Ok(got) => got.json(),
        Err(Error::Refused { status, reason, .. })
            if status == http::StatusCode::PRECONDITION_FAILED =>
        {
            Err(Error::Changed(reason))
        }
        Err(Error::Refused { status, reason, .. })
            if status == http::StatusCode::UNPROCESSABLE_ENTITY =>
        {
            Err(Error::Data(reason))
        }
        Err(error) => Err(at_master(error)),
    }
}
