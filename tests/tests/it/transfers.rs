//! A full transfer over a wire that breaks in its middle.

use std::time::Duration;

use tandem_tests::harness::{Node, Pair, Result, until};
use tandem_tests::relay::{Relay, To};

use super::words::QUEUE_PAST;

const FILE_BYTES: usize = 128 * 1024;
const FILES: usize = 96;
const WHOLE: u64 = (FILE_BYTES * FILES) as u64;
/// Chunks without a receipt (8 of one file), words, live values, frames.
const MORE: u64 = 2 * 1024 * 1024;
/// Slow enough that the middle can be met.
const BYTES_PER_S: u64 = 8_000_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until so many bytes have come to the backup.
async fn passed(relay: &Relay, bytes: u64) -> Result<u64> {
    until("half of it has come", PATIENCE, async || match relay.passed(To::Dialer) {
        passed if passed >= bytes => Ok(passed),
        passed => Err(format!("{passed} bytes")),
    })
    .await
}

async fn says(node: &Node, text: &str) -> Result<bool> {
    let events = node.events().await?;
    Ok(events.iter().any(|event| event["text"].as_str().is_some_and(|t| t.contains(text))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_was_cut_goes_on_where_it_was() -> Result {
    let relay = Relay::reserved().await?;
    let builder = Pair::named("a_transfer_that_was_cut").dialing_through(&relay.address()?);
    let pair = builder.join_wait_ms(500).build()?;
    let (a, b) = (pair.master(), pair.backup());
    let relay = relay.leads_to(a.base().trim_start_matches("http://"))?;
    relay.throttle(To::Dialer, BYTES_PER_S);
    // More than waits on the disk for a backup: it gets everything.
    a.change(|spec| spec.more += "max_disk_mb = 8\n");
    let assets = pair.project().folder().join("plant/assets");
    std::fs::create_dir_all(&assets).expect("made");
    for n in 0..FILES {
        let file = assets.join(format!("{n:03}.bin"));
        std::fs::write(file, vec![u8::try_from(n).unwrap_or(0); FILE_BYTES]).expect("written");
    }
    a.start().await?;
    a.process()?.says("projects are in the store", PATIENCE).await?;
    b.start().await?;

    let first = passed(&relay, WHOLE / 2).await?;
    relay.reset();
    assert_eq!(pair.settles().await?.id(), "a");
    let second = relay.passed(To::Dialer) - first;
    assert!(second < WHOLE / 2 + MORE, "{first} bytes, then {second} of {WHOLE}");
    for node in [a, b] {
        assert!(says(node, "full transfer of config goes on at chunk").await?, "{}", node.id());
        let told = node.newest_event("fullsync").await?.expect("an event");
        assert_eq!(told["detail"]["reason"], "it goes on where the link had ended", "{told}");
        assert!(told["detail"]["from_chunk"].as_u64() > Some(30), "{told}");
    }
    for n in [0, FILES / 2, FILES - 1] {
        let got = b.get(&format!("/p/plant/assets/{n:03}.bin")).await?;
        assert_eq!((got.status, got.body.len()), (200, FILE_BYTES), "file {n}");
        assert!(got.body.iter().all(|byte| usize::from(*byte) == n), "file {n}");
    }
    pair.ends(&[QUEUE_PAST]).await
}
