//! Pages in a headless Chromium, through the proxy and directly at a node.

use std::time::Duration;

use serde_json::{Value, json};
use tandem_tests::browser::{Browser, Page};
use tandem_tests::harness::operator::value_of;
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

/// Waits for another value than the first that is seen; a page that moves meanwhile begins again.
async fn shows_new_values(page: &Page) -> Result {
    page.waits_for("globalThis.seen = undefined, true", LIVE_MAX).await?;
    page.waits_for(
        "(() => { const element = document.querySelector('tandem-value'); \
         if (!element) return false; \
         const now = element.textContent + '|' + element.shadowRoot?.textContent; \
         globalThis.seen ??= now; return globalThis.seen !== now; })()",
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

/// What a hostile page would have a browser open: a session that nobody knows, with an operation
/// that the page is to send again.
async fn forged(page: &Page, node: &str) -> Result<String> {
    let open = json!([{"id": 1, "deadline": 9_000_000_000_000_000_u64, "op": "write",
        "tag": SETPOINT, "value": 100}]);
    let saved = json!({"session": "x", "token": "x", "next_id": 2, "node": node, "clock": 0,
        "open": open});
    let text = json!({"saved": saved, "view": {}}).to_string();
    let encoded = page.eval(&format!("btoa({})", Value::String(text))).await?;
    Ok(encoded.as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_operates_nothing() -> Result {
    if !wanted() {
        return Ok(());
    }
    let pair = Pair::named("a_link_operates_nothing").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let browser = Browser::launch().await?;
    let page = browser.page().await?;
    let forged = forged(&page, "a").await?;
    page.goto(&format!("{}/p/plant/second#tandem={forged}", pair.master().base())).await?;
    lives(&page).await?;
    assert_eq!(page.eval("location.hash").await?, json!(""), "the fragment was read");
    // What the page had left to send has gone before this, and a session's operations run in order.
    types(&page, "mine").await?;
    let left = value_of(pair.master().base(), SETPOINT).await?;
    assert!((left - 50.0).abs() < 0.01, "the link has written {left}");
    // What is refused at once leaves no listener behind.
    let listens = format!(
        "(async () => {{ const s = {SESSION}; const on = s.on.bind(s); let left = 0; \
         s.on = (type, listener) => {{ left += 1; const stop = on(type, listener); \
         return () => {{ left -= 1; return stop(); }}; }}; \
         const {{ outcome }} = await s.write('{SETPOINT}', NaN); s.on = on; \
         return [outcome, left]; }})()"
    );
    assert_eq!(page.eval(&listens).await?, json!(["rejected", 0]));
    assert_eq!(own_errors(&page), Vec::<String>::new());
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateways_page_takes_no_error_for_life() -> Result {
    if !wanted() {
        return Ok(());
    }
    let pair = Pair::named("the_gateways_page_takes_no_error_for_life").start().await?;
    pair.settles().await?;
    let browser = Browser::launch().await?;
    let page = browser.page().await?;
    page.goto(&format!("{}/", pair.master().base())).await?;
    page.eval(
        "globalThis.fetch = async () => new Response('<main>busy</main>', { status: 503 }); true",
    )
    .await?;
    let lost = "document.body.classList.contains('lost')";
    page.waits_for(lost, LIVE_MAX).await?;
    let kept = "document.querySelector('main').textContent !== 'busy'";
    assert_eq!(page.eval(kept).await?, json!(true), "the last state stays");
    pair.ends(&[]).await
}
