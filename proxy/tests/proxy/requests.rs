//! Requests over a switch: none is lost that could be held, none is done twice.

use bytes::Bytes;
use http::StatusCode;

use crate::client::{Front, send};
use crate::node::{Mood, Node};
use crate::{run, until};

#[test]
fn a_post_that_waits_is_done_once() {
    run(async {
        let (a, b) = (Node::active("a", 1).await, Node::start("b").await);
        let front = Front::start(&[&a, &b]);
        front.leads_to("a").await;
        a.kill().await;
        let post = front.begin("POST", "/data/api/v1/tags/T", &[], "x");
        front.waiting(1).await;
        b.activate(2);
        assert_eq!(post.await.unwrap().body.as_deref(), Some("b:x"));
        assert_eq!((a.seen().len(), b.seen().len()), (0, 1));
        assert_eq!(b.seen()[0].method, "POST");
        assert_eq!(b.seen()[0].headers["tandem-term"], "2");
    });
}

#[test]
fn a_fenced_node_has_done_nothing() {
    run(async {
        let (a, b) = (Node::active("a", 1).await, Node::start("b").await);
        a.be(Mood::Fenced);
        let front = Front::start(&[&a, &b]);
        let first = front.begin("POST", "/", &[], "x");
        front.waiting(1).await;
        a.be(Mood::Answers);
        assert_eq!(first.await.unwrap().body.as_deref(), Some("a:x"), "the fence is over");
        a.be(Mood::Fenced);
        let second = front.begin("POST", "/", &[], "y");
        front.waiting(1).await;
        b.activate(2);
        assert_eq!(second.await.unwrap().body.as_deref(), Some("b:y"));
        assert_eq!((a.seen().len(), b.seen().len()), (1, 1));
    });
}

#[test]
fn a_keyed_post_whose_answer_is_lost_is_sent_again() {
    run(async {
        let (a, b) = (Node::active("a", 1).await, Node::start("b").await);
        a.be(Mood::Hangs);
        let front = Front::start(&[&a, &b]);
        let post = front.begin("POST", "/", &[("idempotency-key", "k1")], "x");
        until("a has the request", async || a.seen().len() == 1).await;
        a.kill().await;
        b.activate(2);
        assert_eq!(post.await.unwrap().body.as_deref(), Some("b:x"));
        assert_eq!(b.seen()[0].headers["idempotency-key"], "k1");
    });
}

#[test]
fn a_post_without_a_key_is_never_sent_twice() {
    run(async {
        let (a, b) = (Node::active("a", 1).await, Node::start("b").await);
        a.be(Mood::Hangs);
        let front = Front::start(&[&a, &b]);
        let post = front.begin("POST", "/", &[], "x");
        until("a has the request", async || a.seen().len() == 1).await;
        b.activate(2);
        front.leads_to("b").await;
        a.kill().await;
        let answer = post.await.unwrap();
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert!(answer.body.unwrap().contains("answer_lost"));
        assert!(b.seen().is_empty());
    });
}

#[test]
fn a_get_does_not_wait_for_a_frozen_node() {
    run(async {
        let (a, b) = (Node::active("a", 1).await, Node::start("b").await);
        a.be(Mood::Hangs);
        let front = Front::start(&[&a, &b]);
        let get = front.begin("GET", "/", &[], "");
        until("a has the request", async || a.seen().len() == 1).await;
        b.activate(2);
        assert_eq!(get.await.unwrap().body.as_deref(), Some("b:"));
    });
}

#[test]
fn a_cut_response_is_an_error() {
    run(async {
        for path in ["/sized", "/chunked"] {
            let a = Node::active("a", 1).await;
            let front = Front::start(&[&a]);
            front.leads_to("a").await;
            let get = front.begin("GET", path, &[], "");
            until("a has the request", async || a.seen().len() == 1).await;
            a.kill().await;
            let answer = get.await.unwrap();
            assert_eq!(answer.status, StatusCode::OK);
            assert_eq!(answer.body, None, "{path} must not look complete");
        }
    });
}

#[test]
fn a_response_from_a_frozen_node_is_cut_when_another_is_active() {
    run(async {
        let (a, b) = (Node::active("a", 1).await, Node::start("b").await);
        let front = Front::start(&[&a, &b]);
        let get = front.begin("GET", "/chunked", &[], "");
        until("a has the request", async || a.seen().len() == 1).await;
        b.activate(2);
        assert_eq!(get.await.unwrap().body, None);
    });
}

#[test]
fn of_two_actives_the_higher_term_is_asked() {
    run(async {
        let (a, b) = (Node::active("a", 5).await, Node::active("b", 6).await);
        let front = Front::start(&[&a, &b]);
        front.leads_to("b").await;
        assert_eq!(front.get("/").await.body.as_deref(), Some("b:"));
        a.activate(7);
        front.leads_to("a").await;
        assert_eq!(front.get("/").await.body.as_deref(), Some("a:"));
        // Its peer falls back, which changes nothing.
        b.stand_by();
        assert_eq!(front.get("/").await.body.as_deref(), Some("a:"));
    });
}

#[test]
fn past_the_limits_a_client_is_told_to_come_back() {
    run(async {
        let a = Node::start("a").await;
        let front = Front::with(&[&a], |o| {
            o.hold_max_requests = 1;
            o.hold_timeout = std::time::Duration::from_millis(200);
        });
        let held = front.begin("POST", "/", &[], "x");
        front.waiting(1).await;
        let refused = front.get("/").await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers["retry-after"], "1");
        assert!(refused.body.unwrap().contains("too_many_waiting"));
        let late = held.await.unwrap();
        assert_eq!(late.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(late.body.unwrap().contains("no_active_node"));
        assert!(a.seen().is_empty());
    });
}

#[test]
fn headers_are_those_of_a_proxy() {
    run(async {
        let a = Node::active("a", 3).await;
        let front = Front::start(&[&a]);
        let headers = [
            ("connection", "x-mine"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("tandem-term", "99"),
            ("x-forwarded-for", "203.0.113.9"),
        ];
        front.ask("GET", "/p/plant/overview?x=1", &headers, "").await;
        let seen = a.seen().remove(0).headers;
        assert!(!seen.contains_key("x-mine") && !seen.contains_key("te"));
        assert_eq!(seen["tandem-term"], "3");
        assert_eq!(seen["host"], "plant");
        assert_eq!(seen["x-forwarded-for"], "127.0.0.1");
        assert_eq!(seen["x-forwarded-host"], "plant");
        assert_eq!(seen["forwarded"], "for=127.0.0.1;host=\"plant\";proto=http");
        assert_eq!(seen["via"], "1.1 tandem-proxy");
        assert!(!seen.contains_key("tandem-via"));
    });
}

#[test]
fn links_and_administration_end_here() {
    run(async {
        let a = Node::active("a", 1).await;
        let front = Front::start(&[&a]);
        for (method, path, status) in [
            ("GET", "/gateway-network", StatusCode::NOT_FOUND),
            ("GET", "/metrics", StatusCode::NOT_FOUND),
            ("POST", "/data/api/v1/redundancy/gwaction/failover", StatusCode::FORBIDDEN),
            ("PUT", "/data/api/v1/redundancy/config", StatusCode::FORBIDDEN),
        ] {
            let answer = front.ask(method, path, &[], "").await;
            assert_eq!(answer.status, status, "{method} {path}");
            assert_eq!(answer.headers["content-type"], "application/json");
        }
        assert!(a.seen().is_empty());
    });
}

#[test]
fn connections_are_used_again_and_large_bodies_pass() {
    run(async {
        let a = Node::active("a", 1).await;
        let front = Front::start(&[&a]);
        front.leads_to("a").await;
        let before = a.connections();
        let mut client = front.connect().await;
        for _ in 0..20 {
            let answer = send(&mut client, "POST", "/", &[], Bytes::from_static(b"x")).await;
            assert_eq!(answer.body.as_deref(), Some("a:x"));
        }
        assert_eq!(a.connections(), before + 1);
        let large = "y".repeat(1_000_000);
        let answer = send(&mut client, "POST", "/", &[], Bytes::from(large.clone())).await;
        assert_eq!(answer.body, Some(format!("a:{large}")));
    });
}

#[test]
fn a_stale_connection_costs_nothing() {
    run(async {
        let (a, b) = (Node::active("a", 1).await, Node::start("b").await);
        let front = Front::start(&[&a, &b]);
        assert_eq!(front.ask("POST", "/", &[], "1").await.body.as_deref(), Some("a:1"));
        a.kill().await;
        let post = front.begin("POST", "/", &[], "2");
        front.waiting(1).await;
        b.activate(2);
        assert_eq!(post.await.unwrap().body.as_deref(), Some("b:2"));
    });
}

#[test]
fn a_taken_port_is_named() {
    run(async {
        let front = Front::start(&[]);
        let error = tandem_proxy::bind(front.address).unwrap_err().to_string();
        assert!(error.contains(&front.address.to_string()), "{error}");
        front.stop().await;
    });
}
