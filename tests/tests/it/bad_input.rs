//! Wrong options, folders and bytes: named, counted, and without harm to the others.

use std::time::Duration;

use tandem_protocol::limits::SESSION_MESSAGE_MAX_BYTES;
use tandem_protocol::session::Outcome;
use tandem_protocol::wire::session::{CloseReason, ServerMessage};
use tandem_tests::harness::node::run_file;
use tandem_tests::harness::operator::{post_keyed, write};
use tandem_tests::harness::project::{SETPOINT, write as write_file};
use tandem_tests::harness::{Log, Node, Operator, Pair, Result, Socket, until, web};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::words::NO_MESSAGE;

const ENDS_MAX: Duration = Duration::from_secs(10);

/// Starts a node with this options file and gives its exit code and all that it said.
async fn refuses(text: &str) -> Result<(Option<i32>, String)> {
    let folder = tempfile::tempdir().map_err(|source| tandem_tests::harness::Error::Io {
        what: "make a folder".to_owned(),
        source,
    })?;
    let file = folder.path().join("node.toml");
    write_file(&file, &text.replace("DATA", &folder.path().join("data").display().to_string()))?;
    let log = Log::default();
    let process = run_file("wrong", &file, &log)?;
    let status = process.ends(ENDS_MAX).await?;
    // The pipe's last line may come a moment after the end of the process.
    until("it says why", ENDS_MAX, async || {
        if log.tail(50).trim().is_empty() { Err("nothing") } else { Ok(()) }
    })
    .await?;
    Ok((status.code(), log.tail(50)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_options_end_with_64() -> Result {
    let right = "role = \"Independent\"\nnode_id = \"a\"\nhttp = 0\ndata_dir = \"DATA\"\n";
    for (more, key, place) in [
        ("htpp = 1\n", "htpp", "node.toml:5"),
        ("max_disk_mb = \"many\"\n", "max_disk_mb", "node.toml:5"),
        ("[shared]\nping_rate = 5\n", "ping_rate", "node.toml:6"),
        // What only shows once all is read names the file.
        ("[shared]\nping_max_missed = 1\n", "ping_max_missed", "node.toml"),
        ("[shared]\nping_max_missed = 3\n", "ping_max_missed", "node.toml"),
        ("peer = \"nowhere\"\n", "peer", "node.toml"),
    ] {
        let (code, said) = refuses(&format!("{right}{more}")).await?;
        assert_eq!(code, Some(64), "{more}: {said}");
        assert!(said.contains(key), "{more}: names the key: {said}");
        assert!(said.contains(place), "{more}: names {place}: {said}");
        assert!(!said.contains("ready node="), "{more}: before any port is bound: {said}");
    }
    let (code, said) = refuses("role = \"Master\"\nnode_id = \"a\"\nhttp = 0\n").await?;
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("pair_id"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_options_file_is_named() -> Result {
    let log = Log::default();
    let process = run_file("missing", std::path::Path::new("/nowhere/node.toml"), &log)?;
    let status = process.ends(ENDS_MAX).await?;
    assert_eq!(status.code(), Some(64));
    until("it says why", ENDS_MAX, async || {
        if log.says("/nowhere/node.toml") { Ok(()) } else { Err(log.tail(10)) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_named() -> Result {
    let pair = Pair::named("a_taken_port_is_named").build()?;
    let port = pair.master().spec().http;
    let taken = std::net::TcpListener::bind(("127.0.0.1", port));
    assert!(taken.is_ok());
    ends_saying(pair.master(), &format!("127.0.0.1:{port}")).await?;
    drop(taken);
    pair.ends(&[]).await
}

async fn ends_saying(node: &Node, text: &str) -> Result {
    node.launch()?;
    let status = node.process()?.ends(ENDS_MAX).await?;
    assert!(!status.success(), "{status}");
    let what = format!("{} says \"{text}\"", node.id());
    until(
        &what,
        ENDS_MAX,
        async || {
            if node.log().says(text) { Ok(()) } else { Err(node.log().tail(10)) }
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_folder_of_another_node() -> Result {
    let pair = Pair::named("the_data_folder_of_another_node").start().await?;
    pair.settles().await?;
    pair.backup().stop().await?;
    let folder = pair.master().data();
    pair.master().stop().await?;
    let named = folder.display().to_string();
    pair.backup().change(|spec| {
        spec.folder = folder.parent().unwrap_or(&folder).to_path_buf();
    });
    ends_saying(pair.backup(), &named).await?;
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_session_messages() -> Result {
    let pair = Pair::named("malformed_session_messages").start().await?;
    let active = pair.settles().await?;
    let base = active.base().to_owned();
    let counted = async || active.metric("tandem_session_closed_total{reason=\"malformed\"}").await;
    let before = counted().await?;
    let mut bystander = Operator::at(&base).await?;
    let large = "x".repeat(SESSION_MESSAGE_MAX_BYTES + 1);
    for (what, message, reasons) in [
        ("no JSON", Message::text("{"), [CloseReason::Malformed, CloseReason::Malformed]),
        (
            "unknown type",
            Message::text(r#"{"type":"dance"}"#),
            [CloseReason::Malformed, CloseReason::Unexpected],
        ),
        ("too large", Message::text(large), [CloseReason::Oversized, CloseReason::Oversized]),
        (
            "binary",
            Message::binary(vec![1, 2, 3]),
            [CloseReason::Oversized, CloseReason::Malformed],
        ),
    ] {
        let mut socket = Socket::connect(&base).await?;
        socket.send_raw(message).await?;
        let mut told = None;
        while let Ok(Some(message)) = socket.next(Duration::from_secs(5)).await {
            if let ServerMessage::Closing { reason, .. } = message {
                told = Some(reason);
            }
        }
        assert!(told.is_some_and(|reason| reasons.contains(&reason)), "{what}: {told:?}");
    }
    // Counted, and nobody else has noticed.
    assert_eq!(bystander.writes(SETPOINT, 1.0).await?.0, Outcome::Applied);
    assert!(counted().await? > before, "counted by reason");
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_session_is_unbound() -> Result {
    let pair = Pair::named("a_request_without_a_session_is_unbound").start().await?;
    let base = pair.settles().await?.base().to_owned();
    let mut operator = Operator::at(&base).await?;
    let request = operator.request(write(SETPOINT, 9.0), Duration::from_secs(5));
    operator.socket = Socket::connect(&base).await?;
    operator.sends(&request).await?;
    operator
        .socket
        .expect("unbound", |m| matches!(m, ServerMessage::Unbound).then_some(()))
        .await?;
    pair.ends(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_peer_messages() -> Result {
    let pair = Pair::named("malformed_peer_messages").start().await?;
    let active = pair.settles().await?;
    let upgrade = "GET /gateway-network HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                   Upgrade: tandem-peer/1\r\n\r\n";
    for frame in [
        &[0, 0, 0, 3, 0xff, 0xff, 0xff][..],
        &[0xff, 0xff, 0xff, 0xff, 0][..],
        // A goodbye in place of a hello.
        &[0, 0, 0, 4, 0x82, 0x11, 0x81, 0x01][..],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let host = active.base().trim_start_matches("http://");
        let Ok(mut stream) = TcpStream::connect(host).await else { panic!("no connection") };
        assert!(stream.write_all(upgrade.as_bytes()).await.is_ok());
        let mut read = [0; 4096];
        let got = tokio::time::timeout(ENDS_MAX, stream.read(&mut read)).await;
        assert!(matches!(got, Ok(Ok(n)) if n > 0), "an upgrade");
        let _ = stream.write_all(frame).await;
        // The node closes this connection, with a word or without.
        let end = tokio::time::timeout(ENDS_MAX, async {
            while stream.read(&mut read).await.is_ok_and(|n| n > 0) {}
        });
        assert!(end.await.is_ok(), "closed after {frame:?}");
    }
    assert_eq!(pair.settles().await?.id(), active.id(), "the link and the level are untouched");
    // Such a row is there from the first on.
    let counted = active.metric("tandem_link_closed_total{reason=\"malformed\"}").await?;
    assert!(counted > 0, "counted by reason");
    pair.ends(&[NO_MESSAGE]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_exist() -> Result {
    let pair = Pair::named("what_does_not_exist").start().await?;
    let base = pair.settles().await?.base().to_owned();
    for path in ["/p/plant/nothing", "/p/nothing/first", "/nothing", "/data/api/v1/tags/No/Tag"] {
        assert_eq!(web::get(&base, path).await?.status, 404, "{path}");
    }
    let mut operator = Operator::at(&base).await?;
    let (outcome, _) = operator.writes("No/Tag", 1.0).await?;
    assert!(names(&outcome, "No/Tag"), "{outcome:?}");
    let (outcome, _) = operator.writes(SETPOINT, -1.0).await?;
    assert!(names(&outcome, SETPOINT), "{outcome:?}");
    let (outcome, _) = operator.acks("No alarm", 1).await?;
    assert!(names(&outcome, "No alarm"), "{outcome:?}");
    let reply = post_keyed(&base, "No/Tag", 1.0, "k").await?;
    assert!(matches!(reply.status, 404 | 409 | 422), "{} {}", reply.status, reply.text());
    let mut socket = Socket::connect(&base).await?;
    let open = tandem_tests::harness::socket::open_message("plant", "nothing");
    socket.send(&open).await?;
    let why = socket
        .expect("closing", |message| match message {
            ServerMessage::Closing { reason, detail } => Some((reason, detail)),
            _ => None,
        })
        .await?;
    assert_eq!(why.0, CloseReason::NoSuchPage, "{}", why.1);
    pair.ends(&[]).await
}

fn names(outcome: &Outcome, what: &str) -> bool {
    matches!(outcome, Outcome::Rejected { reason } if reason.contains(what))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_does_nothing() -> Result {
    let pair = Pair::named("a_standby_does_nothing").start().await?;
    assert_eq!(pair.settles().await?.id(), "a");
    let base = pair.backup().base();
    let mut socket = Socket::connect(base).await?;
    socket.send(&tandem_tests::harness::socket::open_message("plant", "first")).await?;
    let standby = |m| matches!(m, ServerMessage::Standby { .. }).then_some(());
    socket.expect("standby", standby).await?;
    let reply = post_keyed(base, SETPOINT, 1.0, "k").await?;
    assert_eq!(reply.status, 503);
    assert!(reply.header("tandem-standby").parse::<u64>().is_ok(), "{:?}", reply.headers);
    // The same socket becomes a session's once the node is active.
    pair.master().kill().await?;
    let active = |m| matches!(m, ServerMessage::Active { .. }).then_some(());
    socket.expect("active", active).await?;
    socket.send(&tandem_tests::harness::socket::open_message("plant", "first")).await?;
    let opened = |m| matches!(m, ServerMessage::Opened(_)).then_some(());
    socket.expect("opened", opened).await?;
    pair.ends(&[]).await
}
