//! Config with real processes: changed on the master, there on the backup; the operator's commands
//! that do it, and what they refuse.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tandem_tests::harness::command::run_anywhere;
use tandem_tests::harness::project::write;
use tandem_tests::harness::web::{self, Reply};
use tandem_tests::harness::{Node, Pair, Result, binary, run, until};

use super::words::QUEUE_PAST;

const RESOURCES: &str = "/data/api/v1/resources";
const NOTE: &str = "/data/api/v1/resources/project/plant/assets/note.txt";
const PATIENCE: Duration = Duration::from_secs(20);
/// Exit codes of the commands.
const CHANGED: i32 = 75;
const DENIED: i32 = 77;

async fn ask(
    node: &Node,
    method: &str,
    path: &str,
    more: &[(&str, &str)],
    body: &str,
) -> Result<Reply> {
    let bearer = format!("Bearer {}", node.admin_token()?);
    let mut headers = vec![("authorization", bearer.as_str())];
    headers.extend(more);
    web::exchange(method, node.base(), path, &headers, Bytes::from(body.to_owned())).await
}

/// A folder beside the nodes' own, with a copy of the pair's project.
fn copy(pair: &Pair, name: &str) -> Result<PathBuf> {
    let from = pair.project().folder();
    let to = from.parent().expect("a folder").join(name);
    tandem_tests::harness::Project::copy(from, &to, "")?;
    Ok(to)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_on_the_master_is_on_the_backup_when_it_is_answered() -> Result {
    let pair = Pair::named("a_change_on_the_master").start().await?;
    pair.settles().await?;
    let (a, b) = (pair.master(), pair.backup());
    let made = ask(a, "PUT", NOTE, &[("if-none-match", "*")], "one").await?;
    assert_eq!((made.status, &made.json()["copies"]), (201, &json!(2)), "{}", made.text());
    let tag = made.header("etag").to_owned();
    let there = ask(b, "GET", NOTE, &[], "").await?;
    assert_eq!((there.status, there.text(), there.header("etag")), (200, "one".to_owned(), &*tag));
    let page = b.get("/p/plant/assets/note.txt").await?;
    assert_eq!(page.text(), "one");

    // If-Match: what is not as it was seen is not overwritten.
    let second = ask(a, "PUT", NOTE, &[("if-match", &tag)], "two").await?;
    assert_eq!(second.status, 200, "{}", second.text());
    let late = ask(a, "PUT", NOTE, &[("if-match", &tag)], "three").await?;
    assert_eq!((late.status, late.header("etag")), (412, second.header("etag")), "{}", late.text());
    assert_eq!(ask(a, "GET", NOTE, &[], "").await?.text(), "two");
    assert_eq!(ask(a, "PUT", NOTE, &[("if-none-match", "*")], "x").await?.status, 412);

    // The backup takes none, and says where the master is; also while it is the active one.
    let refused = ask(b, "PUT", NOTE, &[], "b").await?;
    assert_eq!((refused.status, &refused.json()["master"]["url"]), (409, &json!(a.base())));
    assert_eq!(refused.header("location"), format!("{}{NOTE}", a.base()));
    let gateway = format!("{RESOURCES}/settings/gateway");
    let wrong = ask(a, "PUT", &gateway, &[], r#"{"alarms":[{"name":"x","tag":"Away"}]}"#).await?;
    assert_eq!(wrong.status, 422, "{}", wrong.text());
    let gone = ask(a, "DELETE", NOTE, &[("if-match", second.header("etag"))], "").await?;
    assert_eq!(gone.status, 200, "{}", gone.text());
    assert_eq!(ask(b, "GET", NOTE, &[], "").await?.status, 404);
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_token_is_its_users_own_and_in_no_log() -> Result {
    let pair = Pair::named("the_admin_token").build()?;
    for node in pair.nodes() {
        node.change(|spec| spec.more += "log_level = \"trace\"\n");
    }
    pair.master().launch()?;
    pair.backup().start().await?;
    pair.settles().await?;
    for node in pair.nodes() {
        let path = node.data().join("admin.token");
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(web::get(node.base(), RESOURCES).await?.status, 401);
        let wrong = [("authorization", "Bearer 00")];
        let got = web::exchange("GET", node.base(), RESOURCES, &wrong, Bytes::new()).await?;
        assert_eq!(got.status, 401);
        assert_eq!(ask(node, "GET", RESOURCES, &[], "").await?.status, 200);
        let secret = node.admin_token()?;
        assert!(!node.log().says(&secret), "the token is in the log of {}", node.id());
        for path in ["/", "/metrics", "/data/api/v1/redundancy/config"] {
            assert!(!node.get(path).await?.text().contains(&secret), "{path}");
        }
    }
    assert_ne!(pair.master().admin_token()?, pair.backup().admin_token()?);
    let other = text(&pair.backup().data().join("admin.token"));
    let asked = ["project", "list", "--node", pair.master().base(), "--token-file", &other];
    let ran = run_anywhere(&asked).await?;
    assert_eq!(ran.code, DENIED, "{ran:?}");
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_pushed_pulled_and_never_overwrites_unseen_work() -> Result {
    let pair = Pair::named("a_folder_is_pushed").start().await?;
    pair.settles().await?;
    let (a, b) = (pair.master(), pair.backup());
    let (one, two) = (copy(&pair, "one")?, copy(&pair, "two")?);
    let (one, two) = (text(&one), text(&two));
    let same = run(a, &["project", "push", &one, "--json"]).await?;
    assert_eq!((same.code, &same.json()["pushed"]), (0, &json!(0)), "{same:?}");

    write(&Path::new(&one).join("plant/assets/style.css"), "a{}")?;
    let dry = run(a, &["project", "push", &one, "--dry-run", "--json"]).await?;
    assert_eq!((dry.code, &dry.json()["changes"][0]["action"]), (0, &json!("add")), "{dry:?}");
    assert_eq!(b.get("/p/plant/assets/style.css").await?.status, 404, "nothing was pushed");
    let pushed = run(a, &["project", "push", &one]).await?;
    assert!(pushed.code == 0 && pushed.out.contains("both nodes"), "{pushed:?}");
    assert!(pushed.out.contains("plant/assets/style.css"), "{pushed:?}");
    assert_eq!(b.get("/p/plant/assets/style.css").await?.text(), "a{}");

    // Another folder gets it, and works on.
    let pulled = run(b, &["project", "pull", &two]).await?;
    assert_eq!(pulled.code, 0, "{pulled:?}");
    let style = Path::new(&two).join("plant/assets/style.css");
    assert_eq!(std::fs::read_to_string(&style).expect("pulled"), "a{}");
    write(&style, "b{}")?;
    assert_eq!(run(a, &["project", "push", &two]).await?.code, 0);

    // The first one has not seen that.
    write(&Path::new(&one).join("plant/assets/style.css"), "c{}")?;
    let refused = run(a, &["project", "push", &one]).await?;
    assert_eq!(refused.code, CHANGED, "{refused:?}");
    assert!(refused.err.contains("--force"), "{refused:?}");
    assert_eq!(a.get("/p/plant/assets/style.css").await?.text(), "b{}");
    assert_eq!(run(a, &["project", "push", &one, "--force"]).await?.code, 0);
    assert_eq!(b.get("/p/plant/assets/style.css").await?.text(), "c{}");

    // The backup does not take it, and says what to run.
    write(&Path::new(&one).join("plant/assets/style.css"), "d{}")?;
    let at_backup = run(b, &["project", "push", &one]).await?;
    assert_eq!(at_backup.code, 1, "{at_backup:?}");
    let offered = format!("tandem-node project push {one} --node {}", a.base());
    assert!(at_backup.err.contains(&offered), "{at_backup:?}");

    write(&Path::new(&one).join("plant/project.toml"), "start = \"away\"\n")?;
    let broken = run(a, &["project", "push", &one]).await?;
    assert!(broken.code == 65 && broken.err.contains("project.toml:1"), "{broken:?}");
    let listed = run(a, &["project", "list", "--json"]).await?.json();
    assert_eq!(
        (&listed["items"][0]["project"], &listed["items"][0]["pages"]),
        (&json!("plant"), &json!(2))
    );

    // A project leaves by its own command only; a folder that lost it says so.
    assert_eq!(run(b, &["project", "delete", "plant"]).await?.code, 1, "not the backup");
    assert_eq!(run(a, &["project", "delete", "plan"]).await?.code, 65, "there is none");
    std::fs::remove_dir_all(Path::new(&two).join("plant")).expect("it was there");
    let left = run(a, &["project", "push", &two]).await?;
    assert!(left.code == 0 && left.out.contains("project delete plant"), "{left:?}");
    assert_eq!(b.get("/p/plant/assets/style.css").await?.text(), "c{}");
    let gone = run(a, &["project", "delete", "plant"]).await?;
    assert!(gone.code == 0 && gone.out.contains("both nodes"), "{gone:?}");
    assert_eq!(b.get("/p/plant/assets/style.css").await?.status, 404);
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_folder_is_pushed_when_it_changes() -> Result {
    let pair = Pair::named("a_watched_folder").start().await?;
    pair.settles().await?;
    let folder = copy(&pair, "watched")?;
    let mut watch = tokio::process::Command::new(binary("tandem-node")?);
    watch.args(["project", "watch"]).arg(&folder).arg("--config").arg(pair.master().spec().file());
    watch.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut watch = watch.kill_on_drop(true).spawn().expect("it runs");
    let style = folder.join("plant/assets/style.css");
    let shown = async |expected: &str| {
        until("the backup serves it", PATIENCE, async || {
            let got = pair.backup().get("/p/plant/assets/style.css").await;
            let got = got.map_err(|e| e.to_string())?.text();
            if got == expected { Ok(()) } else { Err(got) }
        })
        .await
    };
    write(&style, "a{}")?;
    shown("a{}").await?;
    // A mistake ends nothing.
    write(&folder.join("plant/pages/odd name.html"), "x")?;
    write(&style, "b{}")?;
    std::fs::remove_file(folder.join("plant/pages/odd name.html")).expect("removed");
    shown("b{}").await?;
    assert!(watch.try_wait().expect("it can be asked").is_none(), "it goes on");
    watch.kill().await.expect("it ends");
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_project_is_pushed_in_parts_while_the_pair_goes_on() -> Result {
    let pair = Pair::named("a_large_project").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let folder = copy(&pair, "large")?;
    for n in 0..20_u8 {
        let path = folder.join(format!("plant/assets/{n}.bin"));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, vec![n; 1024 * 1024]).expect("written");
    }
    let before = pair.master().status().await?.term;
    let pushed = run(pair.master(), &["project", "push", &text(&folder), "--json"]).await?;
    assert_eq!(pushed.code, 0, "{}", pushed.err);
    assert_eq!((&pushed.json()["pushed"], &pushed.json()["copies"]), (&json!(20), &json!(2)));
    assert_eq!(pair.master().status().await?.term, before, "the level stood");
    let last = pair.backup().get("/p/plant/assets/19.bin").await?;
    assert_eq!((last.status, last.body.len()), (200, 1024 * 1024));
    assert!(last.body.iter().all(|byte| *byte == 19));
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_put_aside_comes_back_by_the_archive_command() -> Result {
    let pair = Pair::named("what_was_put_aside").start().await?;
    pair.settles().await?;
    let (a, b) = (pair.master(), pair.backup());
    let item = |body: &'static str| tandem_protocol::item::Item {
        body: Bytes::from_static(body.as_bytes()),
        changed: tandem_protocol::item::Position::default(),
    };
    let key = |key: &str| tandem_protocol::item::ItemKey::new("project", key);
    let file = tandem_node::store::ArchiveFile {
        kind: tandem_protocol::item::Kind::Config,
        reason: "the backup's config stood".to_owned(),
        node: Some("a".to_owned()),
        position: tandem_protocol::item::Position::default(),
        items: vec![
            (key("plant/assets/lost.css"), item("lost{}")),
            (key("plant/assets/other.css"), item("other{}")),
        ],
    };
    let bytes = minicbor::to_vec(file).expect("it encodes");
    std::fs::write(a.data().join("archive/config-1000.cbor"), bytes).expect("written");
    let listed = run(a, &["archive", "list", "--json"]).await?.json();
    assert_eq!(listed["items"][0]["name"], "config-1000.cbor");
    let shown = run(a, &["archive", "show", "config-1000.cbor"]).await?;
    assert!(shown.code == 0 && shown.out.contains("plant/assets/lost.css"), "{shown:?}");
    let none = run(a, &["archive", "apply", "config-1000.cbor"]).await?;
    assert_eq!(none.code, 64, "{none:?}");
    let choice =
        ["archive", "apply", "config-1000.cbor", "--item", "project/plant/assets/lost.css"];
    let applied = run(a, &choice).await?;
    assert!(applied.code == 0 && applied.out.contains("both nodes"), "{applied:?}");
    assert_eq!(b.get("/p/plant/assets/lost.css").await?.text(), "lost{}");
    assert_eq!(b.get("/p/plant/assets/other.css").await?.status, 404, "it was not chosen");
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_waits_for_the_first_projects() -> Result {
    // Nothing pushes at the start: the projects come a moment later, by a command.
    let pair = Pair::named("an_open_waits").join_wait_ms(200).build()?;
    pair.master().change(|spec| spec.projects = None);
    pair.master().start().await?;
    pair.master().becomes_active().await?;
    let base = pair.master().base().to_owned();
    let opening = tokio::spawn(async move {
        tandem_tests::harness::Operator::at(&base).await.map(|operator| operator.bound.page)
    });
    let folder = text(pair.project().folder());
    let pushed = run(pair.master(), &["project", "push", &folder]).await?;
    assert_eq!(pushed.code, 0, "{pushed:?}");
    let page = opening.await.expect("no panic")?;
    assert_eq!(page, "first");
    pair.ends(&[]).await
}

/// Files of a megabyte each, one after the other.
async fn large_files(node: &Node, count: usize) -> Result {
    for n in 0..count {
        let path = format!("{RESOURCES}/project/plant/assets/large-{n}.txt");
        let made = ask(node, "PUT", &path, &[], &n.to_string().repeat(1 << 20)).await?;
        assert!(matches!(made.status, 200 | 201), "{} {}", made.status, made.text());
    }
    Ok(())
}

async fn provider(node: &Node) -> Result<Value> {
    let all = node.get("/data/api/v1/redundancy/providers").await?.json();
    let project =
        all["items"].as_array().and_then(|all| all.iter().find(|p| p["name"] == "project"));
    Ok(project.cloned().unwrap_or_default())
}

async fn cached(node: &Node) -> Result<u64> {
    let cache = node.get("/data/api/v1/redundancy/disk-cache").await?.json();
    Ok(cache["metadata"]["now"]["bytes"].as_u64().unwrap_or(u64::MAX))
}

async fn nothing_waits(node: &Node) -> Result {
    until("nothing waits for the other node", PATIENCE, async || {
        let counted = provider(node).await.map_err(|e| e.to_string())?;
        let cached = cached(node).await.map_err(|e| e.to_string())?;
        let done = counted["fullSyncNeeded"] == false && counted["pending"] == 0 && cached == 0;
        if done { Ok(()) } else { Err(format!("{cached} {counted}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_queues_on_disk_up_to_max_disk_mb_and_past_it_the_next_sync_is_full() -> Result {
    let pair = Pair::named("max_disk_mb").join_wait_ms(2_000).build()?;
    let (a, b) = (pair.master(), pair.backup());
    a.change(|spec| spec.more += "max_disk_mb = 8\n");
    a.start().await?;
    b.start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let fulls = async |node: &Node| -> Result<usize> {
        let told = node.events().await?.into_iter().filter(|event| event["kind"] == "fullsync");
        Ok(told.filter(|event| event["detail"]["of"] == "config").count())
    };
    let before = fulls(b).await?;
    b.stop().await?;
    large_files(a, 5).await?;
    // The queue outlives the process that made it. (A projects folder would be in force again.)
    a.kill().await?;
    a.change(|spec| spec.projects = None);
    a.start().await?;
    a.becomes_active().await?;
    assert!(cached(a).await? > 5 << 20, "{}", cached(a).await?);
    b.start().await?;
    let last = format!("{RESOURCES}/project/plant/assets/large-4.txt");
    until("the backup has what was queued", PATIENCE, async || {
        let got = ask(b, "GET", &last, &[], "").await.map_err(|e| e.to_string())?;
        if got.status == 200 { Ok(()) } else { Err(got.text()) }
    })
    .await?;
    pair.settles().await?;
    assert_eq!(fulls(b).await?, before, "a difference was enough");
    nothing_waits(a).await?;

    b.stop().await?;
    large_files(a, 10).await?;
    let event = a.newest_event("queue").await?.expect("an event");
    assert_eq!(event["detail"]["reason"], "queue past max_disk_mb", "{event}");
    assert_eq!(provider(a).await?["fullSyncNeeded"], true);
    assert_eq!(cached(a).await?, 8 << 20, "no more than it may take");
    b.start().await?;
    pair.settles().await?;
    for node in [a, b] {
        let event = node.newest_event("fullsync").await?.expect("an event");
        assert_eq!(event["detail"]["reason"], "queue past max_disk_mb", "{event}");
        assert_eq!(event["severity"], "warning", "{event}");
    }
    nothing_waits(a).await?;
    pair.ends(&[QUEUE_PAST]).await
}
