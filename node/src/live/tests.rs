//! Newest wins, nobody waits for anybody.

use std::time::Duration;

use tandem_protocol::limits::TAGS_MAX;
use tandem_protocol::tag::{Quality, Sample, TagPath, TagValue};
use tandem_protocol::time::UnixMs;
use tandem_protocol::wire::peer::LiveValue;

use super::{CHANGED_MAX, Live, Subscriber};

fn path(text: &str) -> TagPath {
    text.parse().unwrap()
}

fn sample(n: i64) -> Sample {
    Sample { value: TagValue::Int(n), quality: Quality::Good, time: UnixMs(1) }
}

fn seen(subscriber: &mut Subscriber) -> Vec<String> {
    let values = subscriber.take().into_iter();
    values.map(|(path, sample)| format!("{path}={}", sample.value)).collect()
}

#[test]
fn a_follower_sees_the_newest_value_once() {
    let live = Live::new();
    live.publish(&path("before"), sample(0));
    let (mut all, mut feed) = (live.subscribe(), live.peer_feed());
    let mut one = live.subscribe_to([&path("b"), &path("before")]);
    for n in 1..=3 {
        live.publish_all([(path("a"), sample(n)), (path("b"), sample(-n))]);
    }
    assert_eq!(seen(&mut all), ["a=3", "b=-3"]);
    assert_eq!(seen(&mut feed), ["before=0", "a=3", "b=-3"]);
    assert_eq!(seen(&mut one), ["before=0", "b=-3"]);
    live.publish(&path("a"), sample(4));
    assert_eq!(seen(&mut all), ["a=4"]);
    assert!(seen(&mut one).is_empty());
}

#[test]
fn a_standby_holds_what_the_active_node_has() {
    let live = Live::new();
    live.publish(&path("gone"), sample(1));
    let value = |tag: &str, n| LiveValue { tag: tag.to_owned(), sample: sample(n) };
    live.apply_peer(vec![value("a", 1), value("", 9)], true);
    live.apply_peer(vec![value("b", 2)], false);
    assert_eq!(live.get(&path("gone")), None);
    let mut all = live.all();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(all, [(path("a"), sample(1)), (path("b"), sample(2))]);
    live.retain(|tag| tag.as_str() == "a");
    assert_eq!(live.all().len(), 1);
}

#[test]
fn a_full_table_gives_the_slots_of_tags_that_are_gone_to_new_ones() {
    let live = Live::new();
    let value = |n: usize| (path(&format!("T/{n}")), sample(1));
    live.publish_all((0..TAGS_MAX).map(value));
    let mut old = live.subscribe_to([&path("T/0"), &path("T/1")]);
    let mut all = live.subscribe();
    live.publish(&path("New/1"), sample(7));
    assert_eq!(live.get(&path("New/1")), None, "there is no room");
    assert_eq!(seen(&mut old), ["T/0=1", "T/1=1"]);
    live.publish(&path("T/0"), sample(2));
    // Two are renamed; one of the old names comes back before its slot is given away.
    live.retain(|tag| !["T/0", "T/1"].contains(&tag.as_str()));
    live.publish(&path("T/1"), sample(3));
    live.publish(&path("New/1"), sample(4));
    live.publish(&path("New/2"), sample(5));
    assert_eq!(live.get(&path("New/1")), Some(sample(4)));
    assert_eq!(live.get(&path("New/2")), None, "one slot was free");
    assert_eq!(live.get(&path("T/0")), None);
    assert_eq!(seen(&mut old), ["T/1=3"], "who followed the old tag does not see the new one");
    assert_eq!(seen(&mut all), ["T/1=3", "New/1=4"]);
}

#[tokio::test]
async fn a_follower_wakes_for_each_part_of_many_changes() {
    let live = Live::new();
    let mut all = live.subscribe();
    let publisher = live.clone();
    let publish = tokio::spawn(async move {
        let tags = (0..CHANGED_MAX + 1).map(|n| (path(&format!("t{n}")), sample(0)));
        publisher.publish_all(tags);
    });
    let mut count = 0;
    while count < CHANGED_MAX + 1 {
        let wait = tokio::time::timeout(Duration::from_secs(10), all.changed());
        count += wait.await.expect("changes in time").len();
    }
    publish.await.unwrap();
}
