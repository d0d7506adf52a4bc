//! A page in a headless browser as a client of the check.
//!
//! A script that runs in each document writes, acks and reports, so that it goes on by itself
//! after the page has moved to the other node.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tandem_tests::browser::{Browser, Page, Report};
use tandem_tests::harness::until;
use tokio::sync::mpsc;

use super::client::Client;
use super::fault::Fault;
use super::plant::{FAST, alarm, level_tag};
use crate::outcome::{Failure, Outcome};

/// The page of the demo project that the check works on.
const PAGE: &str = "/p/plant/overview";

/// Works in each document: `tandemCheck` says what to write, or nothing.
const SCRIPT: &str = r#"
(() => {
  if (window !== window.top || location.protocol === "about:") return;
  const say = (what) => window.tandemReport(JSON.stringify(what));
  const session = () => document.querySelector("tandem-session")?.session;
  const check = () => globalThis.tandemCheck;
  let known = null;
  let turn = 0;
  // Of the fast values only those after a bind are all told, so that the check is no load itself.
  let eager = 0;
  let told = 0;
  const worth = (detail) => {
    if (detail.event === "state") eager = 20;
    if (detail.event !== "tag_change") return true;
    if (detail.tag !== check()?.fast) return false;
    eager -= 1;
    if (eager < 0 && detail.at - told < 100) return false;
    told = detail.at;
    return true;
  };
  const meet = (s) => {
    known = s;
    s.on("pending", ({ id, operation }) => say({ issued: id, operation }));
    s.watch(check().fast, () => {});
  };
  const ack = (detail) => {
    const ours = detail.event === "alarm_change" && detail.name === check()?.alarm;
    if (ours && detail.raised && !detail.acked) session()?.ack(detail.name, detail.raise);
  };
  document.addEventListener("tandem:event", ({ detail }) => {
    if (worth(detail)) say({ event: detail });
    ack(detail);
  });
  setInterval(() => {
    const s = session();
    if (!s || !check()) return;
    if (s !== known) meet(s);
    if (!check().writes || s.state === "closed") return;
    turn += 1;
    s.write(check().writes, 1);
    s.write(check().setpoint, Date.now());
    if (turn % 10 === 0) s.write(check().level, turn % 20 === 0 ? 0 : 100);
  }, 200);
})();
"#;

/// A page at work.
pub(crate) struct PageClient {
    client: Arc<Client>,
    page: Page,
}

impl PageClient {
    /// Opens the page and waits until its session is live.
    pub(crate) async fn enter(
        browser: &Browser,
        client: Arc<Client>,
        base: &str,
    ) -> Outcome<PageClient> {
        let page = browser.page().await?;
        tokio::spawn(follow(page.reports(), Arc::clone(&client)));
        let entered = PageClient { client, page };
        entered.writes(None).await?;
        entered.page.at_each_load(SCRIPT).await?;
        entered.page.goto(&format!("{base}{PAGE}")).await?;
        let live = "document.querySelector('tandem-session')?.session?.state === 'live'";
        entered.page.waits_for(live, Duration::from_secs(20)).await?;
        Ok(entered)
    }

    /// Says what to write from now on, in this document and in those to come.
    pub(crate) async fn writes(&self, fault: Option<Fault>) -> Outcome {
        let client = self.client.way().word();
        let told = json!({
            "fast": FAST,
            "alarm": alarm(client),
            "level": level_tag(client),
            "writes": fault.map(|fault| super::plant::writes_tag(fault, client)),
            "setpoint": fault.map(|fault| super::plant::setpoint_tag(fault, client)),
        });
        let script = format!("globalThis.tandemCheck = {told};");
        self.page.at_each_load(&script).await?;
        self.page.eval(&script).await?;
        Ok(())
    }

    /// Keeps a property in the session.
    pub(crate) async fn keeps(&self, marker: &str) -> Outcome {
        let script = format!(
            "document.querySelector('tandem-session').session.setProps({})",
            json!({"marker": marker})
        );
        let outcome = until("a property is kept", Duration::from_secs(10), async || {
            match self.page.eval(&script).await {
                Ok(outcome) if outcome.get("outcome") == Some(&json!("applied")) => Ok(()),
                Ok(outcome) => Err(outcome.to_string()),
                // The page may be on its way to the other node just now.
                Err(e) => Err(e.to_string()),
            }
        });
        outcome.await.map_err(Failure::from)
    }

    /// Waits until the page stands: behind the proxy where it was, else at this node, since the
    /// next fault must not come while a document loads. Then it must show what it showed.
    pub(crate) async fn stands_at(&self, node: &str) -> Outcome {
        let way = self.client.way();
        let there = if way.by_proxy() { "true" } else { "location.origin === TANDEM_NODE" };
        let there = there.replace("TANDEM_NODE", &json!(node).to_string());
        let live = "document.querySelector('tandem-session')?.session?.state === 'live'";
        self.page.waits_for(&format!("{there} && {live}"), Duration::from_secs(20)).await?;
        let path = self.page.eval("location.pathname").await?;
        if path != json!(PAGE) {
            self.client.breaks(format!("shows {path} instead of {PAGE}"));
        }
        Ok(())
    }
}

async fn follow(mut reports: mpsc::Receiver<Report>, client: Arc<Client>) {
    while let Some(report) = reports.recv().await {
        let Ok(said) = serde_json::from_str::<Value>(&report.text) else { continue };
        if let Some(event) = said.get("event") {
            client.hears(report.at, event);
        } else if let Some(id) = said.get("issued").and_then(Value::as_u64) {
            client.issued(id, said.get("operation").cloned().unwrap_or_default());
        }
    }
}
