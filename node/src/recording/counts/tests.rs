//! Counts of made-up updates.

use bytes::Bytes;
use tandem_protocol::gateway::input::StoreTicket;
use tandem_protocol::item::{Change, ItemKey, Kind, Position, Update};
use tandem_protocol::term::ActivationId;
use tandem_protocol::time::{Instant, UnixMs};

use super::{Counts, PROVIDERS_MAX, ProviderCounts, WAITING_MAX};

fn update(activation: u64, sequence: u64, providers: &[&str]) -> Update {
    let change = |provider: &&str| Change {
        key: ItemKey::new(provider, "x"),
        body: Some(Bytes::from_static(b"body")),
    };
    let position = Position { activation: ActivationId(activation), sequence };
    Update { position, changes: providers.iter().map(change).collect(), alone: false }
}

fn ms(n: u64) -> Instant {
    Instant::from_micros(n * 1_000)
}

fn of(counts: &Counts, now: Instant, kind: Kind, provider: &str) -> ProviderCounts {
    counts.all(now).remove(&(kind, provider.to_owned())).expect("it was seen")
}

#[test]
fn own_updates_wait_for_the_receipt() {
    let mut counts = Counts::new(true);
    for n in 1..=3 {
        let made = update(7, n, &["tags", "outcomes"]);
        counts.stores(ms(n), StoreTicket(n), Kind::Kept, &made);
    }
    counts.stores(ms(4), StoreTicket(4), Kind::Kept, &update(7, 4, &["alarms"]));
    let tags = of(&counts, ms(5), Kind::Kept, "tags");
    assert_eq!((tags.pending, tags.queued, tags.dispatched), (3, 3, 0));
    assert!((tags.queued_per_second - 0.05).abs() < 0.001, "{tags:?}");
    counts.receipt(ms(6), Kind::Kept, 2);
    let tags = of(&counts, ms(6), Kind::Kept, "tags");
    assert_eq!((tags.pending, tags.dispatched), (1, 2));
    assert_eq!(of(&counts, ms(6), Kind::Kept, "alarms").pending, 1);
    counts.receipt(ms(7), Kind::Kept, 4);
    counts.receipt(ms(7), Kind::Kept, 4);
    let tags = of(&counts, ms(7), Kind::Kept, "tags");
    assert_eq!((tags.pending, tags.dispatched, tags.pulled), (0, 3, 0));
    assert_eq!((tags.last_pull, tags.last_pull_timestamp), (-1, -1));
}

#[test]
fn what_was_received_is_pulled_and_applied_and_not_queued() {
    let mut counts = Counts::new(true);
    counts.pull_begins(ms(100), Kind::Config, false);
    let came = [update(3, 8, &["project"]), update(3, 9, &["project"])];
    counts.pulled(ms(140), UnixMs(5_000), Kind::Config, &came);
    for it in &came {
        counts.stores(ms(140), StoreTicket(1), Kind::Config, it);
    }
    counts.stored(ms(143), StoreTicket(1));
    let project = of(&counts, ms(200), Kind::Config, "project");
    assert_eq!((project.pulled, project.queued, project.pending), (2, 0, 0));
    assert_eq!((project.last_pull, project.last_pull_timestamp), (60, 5_000));
    assert!((project.last_pull_duration - 40.0).abs() < 0.01, "{project:?}");
    assert!((project.last_apply_duration - 3.0).abs() < 0.01, "{project:?}");
    // What flows after it comes whole.
    counts.pulled(ms(300), UnixMs(5_200), Kind::Config, &[update(3, 10, &["project"])]);
    assert!(of(&counts, ms(300), Kind::Config, "project").last_pull_duration.abs() < 0.001);
    // Made here after a switch: the next sequence, another activation.
    counts.stores(ms(400), StoreTicket(2), Kind::Config, &update(4, 11, &["project"]));
    let project = of(&counts, ms(400), Kind::Config, "project");
    assert_eq!((project.queued, project.pending), (1, 1));
    // And the peer is the author again.
    counts.pulled(ms(500), UnixMs(5_400), Kind::Config, &[update(5, 12, &["project"])]);
    assert_eq!(of(&counts, ms(500), Kind::Config, "project").pending, 0);
    assert_eq!(counts.waiting(Kind::Config), (0, 0));
}

#[test]
fn a_full_transfer_is_needed_until_it_is_installed_and_a_restart_until_it_is_in_force() {
    let mut counts = Counts::new(true);
    counts.stores(ms(0), StoreTicket(1), Kind::Config, &update(1, 1, &["project"]));
    counts.pull_begins(ms(0), Kind::Config, true);
    assert!(of(&counts, ms(1), Kind::Config, "project").full_sync_needed);
    let at = Position { activation: ActivationId(3), sequence: 70 };
    let names = ["project", "settings"].into_iter();
    counts.installs((ms(50), UnixMs(9)), StoreTicket(4), Kind::Config, at, names);
    counts.stored(ms(58), StoreTicket(4));
    let project = of(&counts, ms(60), Kind::Config, "project");
    assert!(!project.full_sync_needed && project.restart_required, "{project:?}");
    assert!((project.last_pull_duration - 50.0).abs() < 0.01, "{project:?}");
    assert!((project.last_apply_duration - 8.0).abs() < 0.01, "{project:?}");
    counts.reloaded(Kind::Config);
    assert!(!of(&counts, ms(60), Kind::Config, "settings").restart_required);
    // On the sending side.
    let needed = |counts: &Counts| of(counts, ms(60), Kind::Config, "settings").full_sync_needed;
    counts.push_begins(Kind::Config, Some(70));
    assert!(needed(&counts));
    counts.push_begins(Kind::Config, None);
    assert!(!needed(&counts));
    counts.full_sync_needed(Kind::Config);
    counts.push_begins(Kind::Config, Some(70));
    counts.receipt(ms(60), Kind::Config, 69);
    assert!(needed(&counts), "the transfer has not ended");
    counts.receipt(ms(60), Kind::Config, 70);
    assert!(!needed(&counts));
}

#[test]
fn what_an_earlier_run_has_left_waits_for_its_receipt() {
    let mut counts = Counts::new(true);
    let left = update(1, 4, &["project"]);
    counts.waits(Kind::Config, &left);
    counts.stores(ms(1), StoreTicket(1), Kind::Config, &update(1, 5, &["project"]));
    assert_eq!(counts.waiting(Kind::Config).0, 2);
    let project = of(&counts, ms(1), Kind::Config, "project");
    assert_eq!((project.pending, project.queued), (2, 1));
    counts.receipt(ms(2), Kind::Config, 5);
    assert_eq!(of(&counts, ms(2), Kind::Config, "project").pending, 0);
}

#[test]
fn a_month_without_a_peer_takes_no_more_memory_than_a_day() {
    let mut counts = Counts::new(true);
    let most = u64::try_from(WAITING_MAX).expect("it fits") + 100;
    for n in 1..=most {
        counts.stores(ms(n), StoreTicket(n), Kind::Config, &update(1, n, &["project"]));
    }
    assert!(counts.config.waiting.len() <= WAITING_MAX);
    let bytes = u64::try_from(update(1, 1, &["project"]).size()).expect("it fits");
    assert_eq!(counts.waiting(Kind::Config), (most, most * bytes));
    counts.receipt(ms(1), Kind::Config, 50);
    assert_eq!(counts.waiting(Kind::Config).0, most, "the oldest are released together");
    counts.receipt(ms(1), Kind::Config, 100);
    assert_eq!(counts.waiting(Kind::Config).0, most - 100);
    counts.receipt(ms(1), Kind::Config, most);
    assert_eq!(counts.waiting(Kind::Config), (0, 0));
    assert_eq!(of(&counts, ms(1), Kind::Config, "project").pending, 0);
}

#[test]
fn an_independent_node_waits_for_nobody() {
    let mut counts = Counts::new(false);
    counts.stores(ms(1), StoreTicket(1), Kind::Config, &update(1, 1, &["project"]));
    let project = of(&counts, ms(1), Kind::Config, "project");
    assert_eq!((project.queued, project.pending), (1, 0));
    assert_eq!(counts.waiting(Kind::Config), (0, 0));
}

#[test]
fn a_peer_cannot_make_more_providers_than_there_are_places() {
    let mut counts = Counts::new(true);
    for n in 0..500 {
        let name = format!("p{n}");
        counts.pulled(ms(1), UnixMs(1), Kind::Kept, &[update(1, n + 1, &[name.as_str()])]);
    }
    assert_eq!(counts.all(ms(1)).len(), PROVIDERS_MAX);
    assert_eq!(of(&counts, ms(1), Kind::Kept, "others").pulled, 500 - 63);
}
