//! A headless Chromium, led over its DevTools protocol.
//!
//! Only what the tests and the demo's check need: open a page, evaluate, take a picture in a given
//! size and colour scheme, hear what a page reports and what it logs as an error.

pub mod cdp;
pub mod page;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::process::Process;
use crate::harness::{Error, Log, Result};
use cdp::Connection;
pub use page::{Page, Report, Scheme};

/// Chromium's name on the systems that we know.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// A browser must be up within this time, also on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);

const FLAGS: [&str; 13] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    // Several pages work at once; none of them may be slowed as a page in the background.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--hide-scrollbars",
];

/// A running browser with a profile of its own.
#[derive(Debug)]
pub struct Browser {
    connection: Arc<Connection>,
    _process: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser.
    ///
    /// # Errors
    /// There is none, or it did not start.
    pub async fn launch() -> Result<Browser> {
        let Some(program) = find() else { return Err(Error::NoBrowser) };
        let profile = tempfile::Builder::new().prefix("tandem-browser-").tempdir();
        let profile = profile.map_err(Error::io("make a profile folder"))?;
        let mut command = Command::new(program);
        command.args(FLAGS);
        command.arg("--remote-debugging-port=0");
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.arg("about:blank");
        let process = Process::start("chromium", command, &Log::default())?;
        let line = process.says("DevTools listening on ws://", START_MAX).await?;
        let url = line.split_whitespace().last().unwrap_or_default().to_owned();
        let connection = Arc::new(Connection::open(&url).await?);
        Ok(Browser { connection, _process: process, _profile: profile })
    }

    /// Opens an empty page.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn page(&self) -> Result<Page> {
        let context = self.connection.call(None, "Target.createBrowserContext", json!({})).await?;
        let context = context.get("browserContextId").cloned().unwrap_or_default();
        let asked = json!({"url": "about:blank", "browserContextId": context,
            "width": 1280, "height": 800});
        let target = self.connection.call(None, "Target.createTarget", asked).await?;
        let target = target.get("targetId").cloned().unwrap_or_default();
        Page::attach(Arc::clone(&self.connection), target).await
    }
}

/// Where a browser is, if there is one.
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path)
        .flat_map(|folder| NAMES.iter().map(move |name| Path::new(&folder).join(name)));
    places.find(|place| place.is_file())
}
