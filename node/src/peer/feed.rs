//! Live values to the standby: all once, then what changed, newest wins.
//!
//! Only a node that may act sends. While the connection is busy changes fall together, so a slow
//! standby costs memory for one value a tag and never a queue.

use std::time::Duration;

use tandem_protocol::wire::peer::{LiveValue, Message};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::driver::LevelNow;
use crate::live::Live;

/// Batches are at least this far apart.
const BATCH_GAP: Duration = Duration::from_millis(2);
/// Values in one frame: texts of the greatest length stay below a frame's limit.
const BATCH_VALUES: usize = 500;

/// Feeds the standby until the connection ends.
pub(super) async fn run(
    live: Live,
    mut levels: watch::Receiver<LevelNow>,
    out: mpsc::Sender<Message>,
) {
    loop {
        let activation = match levels.wait_for(|now| now.permitted).await {
            Ok(now) => now.activation,
            Err(_) => return,
        };
        let mut values = live.peer_feed();
        let mut all = true;
        loop {
            let changed = tokio::select! {
                changed = levels.changed() => {
                    let now = levels.borrow_and_update();
                    if changed.is_err() || !now.permitted || now.activation != activation {
                        break;
                    }
                    continue;
                }
                changed = values.changed() => changed,
                () = out.closed() => return,
            };
            for part in changed.chunks(BATCH_VALUES) {
                let values = part
                    .iter()
                    .map(|(tag, sample)| LiveValue { tag: tag.to_string(), sample: sample.clone() })
                    .collect();
                if out.send(Message::Live { all, values }).await.is_err() {
                    return;
                }
                all = false;
            }
            sleep(BATCH_GAP).await;
        }
    }
}
