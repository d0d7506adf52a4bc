//! Both answered alone: whoever stays holds what both did, and the other one takes it.

use super::{EventKind, MS, Pair};
use crate::item::ItemKey;
use crate::node::SyncState;

#[test]
fn what_both_answered_alone_is_on_both_after_they_meet() {
    for first in [0, 1] {
        let mut pair = Pair::new(|_, _| {});
        pair.run(500 * MS);
        (pair.cut, pair.healing) = (true, true);
        pair.run(1_000 * MS);
        assert_eq!(pair.acting(), [0, 1]);
        pair.operate(first, 1);
        pair.run(1_500 * MS);
        pair.operate(1 - first, 2);
        pair.run(100 * MS);
        pair.cut = false;
        pair.run(1_500 * MS);
        pair.healing = false;
        pair.run(2_000 * MS);
        let stays = pair.acting();
        assert_eq!(stays.len(), 1, "one stays");
        // What clients are told is what the event of the level says.
        let status = pair.node(stays[0]).gateway.status();
        let told = ["reason", "incident"].map(|fact| pair.fact(stays[0], EventKind::Level, fact));
        assert_eq!(told, [Some(status.reason.clone()), status.incident]);
        assert!(status.reason.contains("both active"), "{}", status.reason);
        let sums = [0, 1].map(|index| pair.node(index).gateway.kept.sum());
        assert_eq!(sums[0], sums[1]);
        for index in [0, 1] {
            let gateway = &pair.node(index).gateway;
            assert_eq!(gateway.status().sync, SyncState::Good, "node {index}");
            for key in ["key:k1", "key:k2"] {
                let key = ItemKey::new("outcomes", key);
                assert!(gateway.kept.items().contains_key(&key), "node {index} lacks {key:?}");
            }
            assert!(gateway.kept.items().keys().any(|key| key.provider == "reports"));
            assert_eq!(gateway.ledger.alone_from, None, "nothing is unmerged");
        }
    }
}

#[test]
fn what_is_merged_no_longer_says_who_answered_later() {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    (pair.cut, pair.healing) = (true, true);
    pair.run(1_000 * MS);
    pair.operate(1, 1);
    pair.run(1_500 * MS);
    pair.operate(0, 2);
    pair.run(100 * MS);
    pair.cut = false;
    pair.run(3_000 * MS);
    assert_eq!(pair.acting(), [0], "the master answered later");
    let now = pair.now;
    let ago = [0, 1].map(|index| pair.node(index).gateway.answers.alone_ms_ago(now));
    assert_eq!(ago, [None, None], "all of it is merged");
    // In the next cut nobody operates: what was done in the first says nothing of it.
    pair.cut = true;
    pair.run(1_500 * MS);
    assert_eq!(pair.acting(), [0, 1]);
    pair.cut = false;
    pair.run(3_000 * MS);
    assert_eq!(pair.acting(), [0], "nobody answered alone: the master stays");
}
