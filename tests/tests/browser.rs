//! Pages in a headless Chromium, through the proxy and directly at a node.

use std::time::Duration;

use serde_json::{Value, json};
use tandem_tests::browser::{Browser, Page};
use tandem_tests::harness::project::SETPOINT;
use tandem_tests::harness::{Pair, Result, until, web_dir};

/// A gateway that was frozen under its permit says so.
const STALLED: &str = "fence: permit ran out after a stall";
/// A page must be at work again within this time.
const LIVE_MAX: Duration = Duration::from_secs(20);

const SESSION: &str = "document.querySelector('tandem-session')?.session";

/// Whether the tests run where there is a browser; `cargo xtask test` says so when there is none.
fn wanted() -> bool {
    if std::env::var_os("TANDEM_WITHOUT_BROWSER").is_some() {
        eprintln!("no browser: not run");
        return false;
    }
    assert!(web_dir().is_some(), "no browser bundle: `cargo xtask build` makes it");
    true
}

async fn opened(browser: &Browser, url: &str) -> Result<Page> {
    let page = browser.page().await?;
    page.goto(url).await?;
    lives(&page).await?;
    Ok(page)
}

async fn lives(page: &Page) -> Result {
    page.waits_for(&format!("{SESSION}?.state === 'live'"), LIVE_MAX).await
}

async fn is_served_by(page: &Page, node: &str) -> Result {
    let at = format!("{SESSION}?.state === 'live' && {SESSION}.node === '{node}'");
    page.waits_for(&at, LIVE_MAX).await
}

async fn shows_new_values(page: &Page) -> Result {
    page.eval(
        "globalThis.seen = document.querySelector('tandem-value').textContent + '|' + \
         document.querySelector('tandem-value').shadowRoot?.textContent",
    )
    .await?;
    page.waits_for(
        "globalThis.seen !== document.querySelector('tandem-value').textContent + '|' + \
         document.querySelector('tandem-value').shadowRoot?.textContent",
        LIVE_MAX,
    )
    .await
}

async fn types(page: &Page, text: &str) -> Result {
    let props = json!({"typed": text});
    let outcome = page.eval(&format!("{SESSION}.setProps({props})")).await?;
    assert_eq!(outcome.get("outcome"), Some(&json!("applied")), "{outcome}");
    Ok(())
}

async fn typed(page: &Page) -> Result<Value> {
    page.eval(&format!("{SESSION}.props.typed")).await
}

async fn kept_its_session(page: &Page) -> Result {
    let anew = format!("{SESSION}.journal.filter((event) => event.anew).length");
    assert_eq!(page.eval(&anew).await?, json!(0), "the session was opened anew");
    Ok(())
}

/// A gateway that dies cannot answer; everything else is the page's fault.
fn own_errors(page: &Page) -> Vec<String> {
    let network = |error: &String| error.contains("network") || error.contains("WebSocket");
    page.errors().into_iter().filter(|error| !network(error)).collect()
}

async fn notice(page: &Page) -> Result<String> {
    until("a notice", LIVE_MAX, async || {
        let shown = "document.querySelector('tandem-notice').shadowRoot\
                     ?.querySelector('[part=notice]:not([hidden])')?.innerText ?? ''";
        match page.eval(shown).await {
            Ok(Value::String(text)) if !text.is_empty() => Ok(text),
            Ok(other) => Err(other.to_string()),
            Err(e) => Err(e.to_string()),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_behind_the_proxy_survives_a_kill() -> Result {
    if !wanted() {
        return Ok(());
    }
    let named = Pair::named("a_page_behind_the_proxy_survives_a_kill");
    let pair = named.with_proxy().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let browser = Browser::launch().await?;
    let url = format!("{}/p/plant/second?line=7", pair.proxy()?.base());
    let page = opened(&browser, &url).await?;
    types(&page, "half a sentence").await?;
    page.eval("globalThis.sameDocument = true").await?;
    shows_new_values(&page).await?;
    pair.master().kill().await?;
    is_served_by(&page, "b").await?;
    shows_new_values(&page).await?;
    assert_eq!(page.eval("location.href").await?, json!(url));
    assert_eq!(page.eval("globalThis.sameDocument === true").await?, json!(true), "not reloaded");
    assert_eq!(typed(&page).await?, json!("half a sentence"));
    kept_its_session(&page).await?;
    let notice = notice(&page).await?;
    assert!(notice.contains("duty engineer"), "whom to tell: {notice}");
    let written = page.eval(&format!("{SESSION}.write('{SETPOINT}', 42)")).await?;
    assert_eq!(written.get("outcome"), Some(&json!("applied")), "{written}");
    assert_eq!(own_errors(&page), Vec::<String>::new());
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_at_a_node_moves_to_the_other() -> Result {
    if !wanted() {
        return Ok(());
    }
    let pair = Pair::named("a_page_at_a_node_moves_to_the_other").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let browser = Browser::launch().await?;
    let path = "/p/plant/second?line=7";
    let page = opened(&browser, &format!("{}{path}", pair.master().base())).await?;
    types(&page, "half a sentence").await?;
    shows_new_values(&page).await?;
    pair.master().kill().await?;
    let there = format!("{}{path}", pair.backup().base());
    page.waits_for(&format!("location.href === '{there}'"), LIVE_MAX).await?;
    is_served_by(&page, "b").await?;
    shows_new_values(&page).await?;
    assert_eq!(typed(&page).await?, json!("half a sentence"));
    kept_its_session(&page).await?;
    let notice = notice(&page).await?;
    assert!(notice.contains("duty engineer"), "whom to tell: {notice}");
    let written = page.eval(&format!("{SESSION}.write('{SETPOINT}', 43)")).await?;
    assert_eq!(written.get("outcome"), Some(&json!("applied")), "{written}");
    // And back, when the other node goes in its turn.
    pair.master().start().await?;
    assert_eq!(pair.settles().await?.id(), "b");
    pair.backup().kill().await?;
    let back = format!("{}{path}", pair.master().base());
    page.waits_for(&format!("location.href === '{back}'"), LIVE_MAX).await?;
    is_served_by(&page, "a").await?;
    assert_eq!(typed(&page).await?, json!("half a sentence"));
    assert_eq!(own_errors(&page), Vec::<String>::new());
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_keeps_the_session() -> Result {
    if !wanted() {
        return Ok(());
    }
    let pair = Pair::named("a_link_keeps_the_session").with_proxy().start().await?;
    pair.settles().await?;
    let browser = Browser::launch().await?;
    let base = pair.proxy()?.base();
    let page = opened(&browser, &format!("{base}/p/plant/first")).await?;
    types(&page, "kept").await?;
    page.eval("document.querySelector('a').click()").await?;
    page.waits_for("location.pathname === '/p/plant/second'", LIVE_MAX).await?;
    lives(&page).await?;
    assert_eq!(typed(&page).await?, json!("kept"));
    kept_its_session(&page).await?;
    page.call("Page.reload", json!({})).await?;
    page.waits_for(
        &format!("{SESSION}?.state === 'live' && {SESSION}.props.typed === 'kept'"),
        LIVE_MAX,
    )
    .await?;
    assert_eq!(own_errors(&page), Vec::<String>::new());
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_standby_is_led_on() -> Result {
    if !wanted() {
        return Ok(());
    }
    let pair = Pair::named("a_page_of_a_standby_is_led_on").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let browser = Browser::launch().await?;
    let page = browser.page().await?;
    page.goto(&format!("{}/p/plant/first", pair.backup().base())).await?;
    is_served_by(&page, "a").await?;
    shows_new_values(&page).await?;
    assert_eq!(own_errors(&page), Vec::<String>::new());
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_gateway_is_left() -> Result {
    if !wanted() {
        return Ok(());
    }
    let pair = Pair::named("a_frozen_gateway_is_left").with_proxy().start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let browser = Browser::launch().await?;
    let by_proxy = opened(&browser, &format!("{}/p/plant/first", pair.proxy()?.base())).await?;
    let direct = opened(&browser, &format!("{}/p/plant/first", pair.master().base())).await?;
    pair.master().freeze()?;
    is_served_by(&by_proxy, "b").await?;
    let there = format!("{}/p/plant/first", pair.backup().base());
    direct.waits_for(&format!("location.href === '{there}'"), LIVE_MAX).await?;
    is_served_by(&direct, "b").await?;
    pair.master().thaw()?;
    assert_eq!(pair.settles().await?.id(), "b");
    shows_new_values(&by_proxy).await?;
    shows_new_values(&direct).await?;
    kept_its_session(&by_proxy).await?;
    kept_its_session(&direct).await?;
    pair.ends(&[STALLED]).await
}
