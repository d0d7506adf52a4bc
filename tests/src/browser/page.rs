//! One page of the browser.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use super::cdp::{Connection, Event};
use crate::harness::{Error, Result, until};

/// A page's own reports that may wait here.
const REPORTS_WAITING: usize = 8_192;
/// The name of the function by which a page reports.
const REPORT: &str = "tandemReport";

/// The colour scheme that a page is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// What a page said by calling `tandemReport(text)`.
#[derive(Debug, Clone)]
pub struct Report {
    /// When it arrived here.
    pub at: Instant,
    /// What it said.
    pub text: String,
}

/// A page.
#[derive(Debug, Clone)]
pub struct Page {
    connection: Arc<Connection>,
    session: String,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Page {
    pub(crate) async fn attach(connection: Arc<Connection>, target: Value) -> Result<Page> {
        let asked = json!({"targetId": target, "flatten": true});
        let attached = connection.call(None, "Target.attachToTarget", asked).await?;
        let session = attached.get("sessionId").and_then(Value::as_str).unwrap_or_default();
        let page = Page { connection, session: session.to_owned(), errors: Arc::default() };
        let (events, errors) = (page.connection.events(), Arc::clone(&page.errors));
        tokio::spawn(note_errors(events, page.session.clone(), errors));
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            page.call(domain, json!({})).await?;
        }
        page.call("Runtime.addBinding", json!({"name": REPORT})).await?;
        Ok(page)
    }

    /// Goes to a URL and waits until the document has loaded.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn goto(&self, url: &str) -> Result {
        let answer = self.call("Page.navigate", json!({"url": url})).await?;
        if let Some(error) = answer.get("errorText").and_then(Value::as_str) {
            return Err(Error::wire(format!("go to {url}"), error));
        }
        self.waits_for("document.readyState === 'complete'", Duration::from_secs(20)).await
    }

    /// Evaluates an expression; a promise is waited for.
    ///
    /// # Errors
    /// It throws, or the page is gone.
    pub async fn eval(&self, expression: &str) -> Result<Value> {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true,
            "userGesture": true});
        let answer = self.call("Runtime.evaluate", asked).await?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            return Err(Error::wire(format!("evaluate {expression}"), thrown));
        }
        Ok(answer.pointer("/result/value").cloned().unwrap_or_default())
    }

    /// Waits until an expression is true; a page that is just navigating is asked again.
    ///
    /// # Errors
    /// The deadline came first.
    pub async fn waits_for(&self, expression: &str, within: Duration) -> Result {
        until(&format!("the page: {expression}"), within, async || {
            match self.eval(expression).await {
                Ok(Value::Bool(true)) => Ok(()),
                Ok(seen) => Err(seen.to_string()),
                Err(e) => Err(e.to_string()),
            }
        })
        .await
    }

    /// Runs a script in every document of this page before its own scripts.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn at_each_load(&self, script: &str) -> Result {
        let asked = json!({"source": script});
        self.call("Page.addScriptToEvaluateOnNewDocument", asked).await.map(drop)
    }

    /// What the page says by `tandemReport(text)`, from now on.
    pub fn reports(&self) -> mpsc::Receiver<Report> {
        let (sender, reports) = mpsc::channel(REPORTS_WAITING);
        tokio::spawn(pass_reports(self.connection.events(), self.session.clone(), sender));
        reports
    }

    /// Sets the size and the colour scheme that the page sees.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn looks_like(&self, width: u32, height: u32, scheme: Scheme) -> Result {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size).await?;
        let scheme = if scheme == Scheme::Dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", media).await.map(drop)
    }

    /// Takes a picture as PNG.
    ///
    /// # Errors
    /// The browser is gone, or the file cannot be written.
    pub async fn screenshot(&self, file: &Path) -> Result {
        let asked = json!({"format": "png", "captureBeyondViewport": false});
        let answer = self.call("Page.captureScreenshot", asked).await?;
        let text = answer.get("data").and_then(Value::as_str).unwrap_or_default();
        let bytes = from_base64(text)
            .ok_or_else(|| Error::wire("take a screenshot", "it is not base64"))?;
        std::fs::write(file, bytes).map_err(Error::io(format!("write {}", file.display())))
    }

    /// Uncaught exceptions and what was logged as an error, so far.
    pub fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls a DevTools method of this page.
    ///
    /// # Errors
    /// The browser is gone, or refuses.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value> {
        self.connection.call(Some(&self.session), method, params).await
    }
}

async fn pass_reports(
    mut events: broadcast::Receiver<Event>,
    session: String,
    reports: mpsc::Sender<Report>,
) {
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let ours = event.session == session && event.method == "Runtime.bindingCalled";
        if !ours || event.params.get("name").is_none_or(|name| name != REPORT) {
            continue;
        }
        let text = event.params.get("payload").and_then(Value::as_str).unwrap_or_default();
        let report = Report { at: event.at, text: text.to_owned() };
        if reports.send(report).await.is_err() {
            return;
        }
    }
}

async fn note_errors(
    mut events: broadcast::Receiver<Event>,
    session: String,
    errors: Arc<Mutex<Vec<String>>>,
) {
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if event.session != session {
            continue;
        }
        let params = &event.params;
        let text = |pointer: &str| params.pointer(pointer).map(ToString::to_string);
        let error = match event.method.as_str() {
            "Runtime.exceptionThrown" => text("/exceptionDetails/exception/description")
                .or_else(|| text("/exceptionDetails/text")),
            "Runtime.consoleAPICalled" if params.get("type").is_some_and(|t| t == "error") => {
                text("/args")
            }
            "Log.entryAdded" if params.pointer("/entry/level").is_some_and(|l| l == "error") => {
                Some(params.get("entry").map(ToString::to_string).unwrap_or_default())
            }
            _ => None,
        };
        if let Some(error) = error {
            errors.lock().unwrap_or_else(PoisonError::into_inner).push(error);
        }
    }
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut have) = (0u32, 0u32);
    for c in text.bytes().filter(|c| *c != b'=') {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(six);
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push(u8::try_from((bits >> have) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::from_base64;

    #[test]
    fn base64_is_read() {
        assert_eq!(from_base64("VGFuZGVt").unwrap(), b"Tandem");
        assert_eq!(from_base64("QQ==").unwrap(), b"A");
        assert!(from_base64("?").is_none());
    }
}
