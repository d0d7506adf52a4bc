//! WebSockets over a switch: a session's goes on, any other is closed in order.

use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::client::Front;
use crate::node::Node;
use crate::{run, until};

#[test]
fn a_session_outlives_its_node() {
    run(async {
        let (a, b) = (Node::active("a", 1).await, Node::start("b").await);
        let front = Front::start(&[&a, &b]);
        let mut session = front.session().await;
        session.say("one").await;
        assert_eq!(session.text().await, "a got one");
        a.kill().await;
        b.activate(2);
        assert_eq!(session.moved().await, ("b".to_owned(), 2));
        session.say("two").await;
        assert_eq!(session.text().await, "b got two");
        for (node, term) in [(&a, "1"), (&b, "2")] {
            let seen = node.seen().remove(0);
            assert_eq!(seen.path, "/session");
            assert_eq!(seen.headers["tandem-via"], "proxy");
            assert_eq!(seen.headers["tandem-term"], term);
            assert!(!seen.headers.contains_key("sec-websocket-extensions"));
        }
    });
}

#[test]
fn half_a_frame_of_a_dying_node_never_arrives() {
    run(async {
        let (a, b) = (Node::active("a", 1).await, Node::start("b").await);
        let front = Front::start(&[&a, &b]);
        let mut session = front.session().await;
        session.say("one").await;
        assert_eq!(session.text().await, "a got one");
        session.say("half").await;
        until("half a frame is sent", async || a.halves() == 1).await;
        a.kill().await;
        b.activate(2);
        assert_eq!(session.moved().await, ("b".to_owned(), 2));
        session.say("two").await;
        assert_eq!(session.text().await, "b got two");
    });
}

#[test]
fn each_of_many_switches_is_followed() {
    run(async {
        let mut active = Node::active("a", 1).await;
        let mut other = Node::start("b").await;
        let front = Front::start(&[&active, &other]);
        let mut session = front.session().await;
        let mut fastest = Duration::MAX;
        for counter in 2..12 {
            active.stand_by();
            let since = Instant::now();
            other.activate(counter);
            std::mem::swap(&mut active, &mut other);
            assert_eq!(session.moved().await.1, counter);
            fastest = fastest.min(since.elapsed());
        }
        // A busy machine slows some of them; a pause or a poll on the way would slow all.
        assert!(fastest < Duration::from_millis(5), "{fastest:?}");
        let last = session.socket_is_alive().await;
        assert!(last.ends_with("got alive?"), "{last}");
    });
}

#[test]
fn a_session_moves_to_the_higher_term_while_its_node_lives() {
    run(async {
        let (a, b) = (Node::active("a", 1).await, Node::start("b").await);
        let front = Front::start(&[&a, &b]);
        let mut session = front.session().await;
        session.say("one").await;
        assert_eq!(session.text().await, "a got one");
        b.activate(2);
        assert_eq!(session.moved().await, ("b".to_owned(), 2));
        a.activate(3);
        assert_eq!(session.moved().await, ("a".to_owned(), 3));
        session.say("two").await;
        assert_eq!(session.text().await, "a got two");
    });
}

#[test]
fn a_session_stays_at_a_standby_until_another_is_active() {
    run(async {
        let (a, b) = (Node::active("a", 1).await, Node::start("b").await);
        let front = Front::start(&[&a, &b]);
        let mut session = front.session().await;
        a.stand_by();
        until("nobody is active", async || front.health().await["active"].is_null()).await;
        session.say("one").await;
        assert_eq!(session.text().await, "a got one");
        b.activate(2);
        assert_eq!(session.moved().await, ("b".to_owned(), 2));
    });
}

#[test]
fn without_a_node_the_socket_stays_open() {
    run(async {
        let (a, b) = (Node::active("a", 1).await, Node::start("b").await);
        let front = Front::start(&[&a, &b]);
        let mut session = front.session().await;
        session.say("one").await;
        assert_eq!(session.text().await, "a got one");
        a.kill().await;
        until("nobody is active", async || front.health().await["active"].is_null()).await;
        session.say("nobody hears it").await;
        session.send(Message::Ping("p".into())).await;
        assert_eq!(session.next().await.unwrap(), Message::Pong("p".into()));
        b.activate(2);
        assert_eq!(session.moved().await, ("b".to_owned(), 2));
        session.say("two").await;
        assert_eq!(session.text().await, "b got two");
    });
}

#[test]
fn a_new_session_waits_for_the_active_node() {
    run(async {
        let (a, b) = (Node::start("a").await, Node::start("b").await);
        let front = Front::start(&[&a, &b]);
        let opening = async {
            let mut session = front.session().await;
            session.say("one").await;
            session.text().await
        };
        let activating = async {
            front.waiting(1).await;
            b.activate(1);
        };
        let (text, ()) = tokio::join!(opening, activating);
        assert_eq!(text, "b got one");
        assert!(a.seen().is_empty());
    });
}

#[test]
fn goodbyes_pass_through() {
    run(async {
        let a = Node::active("a", 1).await;
        let front = Front::start(&[&a]);
        let mut session = front.session().await;
        let bye = CloseFrame { code: CloseCode::Normal, reason: "bye".into() };
        session.send(Message::Close(Some(bye.clone()))).await;
        assert_eq!(session.closed().await, bye);
    });
}

#[test]
fn a_message_above_the_limit_is_refused() {
    run(async {
        let a = Node::active("a", 1).await;
        let front = Front::start(&[&a]);
        let mut session = front.session().await;
        session.say(&"x".repeat(200 * 1024)).await;
        assert_eq!(session.text().await.len(), 200 * 1024 + "a got ".len());
        session.say(&"x".repeat(256 * 1024 + 1)).await;
        assert_eq!(session.closed().await.code, CloseCode::Size);
    });
}

#[test]
fn other_sockets_are_told_to_connect_again() {
    run(async {
        let (a, b) = (Node::active("a", 1).await, Node::start("b").await);
        let front = Front::start(&[&a, &b]);
        let mut live = front.socket("/live", None).await;
        live.say("one").await;
        assert_eq!(live.text().await, "a got one");
        b.activate(2);
        assert_eq!(live.closed().await.code, CloseCode::Restart);

        let mut live = front.socket("/live", None).await;
        live.say("two").await;
        assert_eq!(live.text().await, "b got two");
        live.say("half").await;
        until("half a frame is sent", async || b.halves() == 1).await;
        b.kill().await;
        assert_eq!(live.closed().await.code, CloseCode::Restart);
    });
}

#[test]
fn a_proxy_that_stops_says_so() {
    run(async {
        let a = Node::active("a", 1).await;
        let front = Front::start(&[&a]);
        let mut session = front.session().await;
        let closing = async { session.closed().await.code };
        let (code, ()) = tokio::join!(closing, front.stop());
        assert_eq!(code, CloseCode::Restart);
    });
}

/// More than a socket's buffers hold, so that some of their answers would have to wait.
const PINGS: u32 = 120_000;

#[test]
fn a_client_that_pings_and_does_not_read_makes_no_queue() {
    run(async {
        let (a, b) = (Node::active("a", 1).await, Node::start("b").await);
        let front = Front::start(&[&a, &b]);
        let mut session = front.session().await;
        session.say("one").await;
        assert_eq!(session.text().await, "a got one");
        a.kill().await;
        until("nobody answers for a", async || front.health().await["active"].is_null()).await;
        session.pings(PINGS).await;
        let mut pongs = 0;
        loop {
            let Message::Pong(payload) = session.next().await.unwrap() else { panic!("no pong") };
            pongs += 1;
            // The newest is answered in any case.
            if payload[..4] == (PINGS - 1).to_be_bytes() {
                break;
            }
        }
        assert!(pongs < PINGS / 2, "{pongs} answers lay in the proxy or on the way");
    });
}
