//! Which of a node's threads run first when there are more than processors.

use rustix::process::setpriority_process;
use rustix::thread::gettid;

/// As `nice`: below 0 is before the others.
const FIRST: i32 = -10;

/// Lets this thread run before the node's others: a heartbeat, a decision or a term must not wait
/// behind ten thousand sessions that move. Where the system does not allow it (it asks for root,
/// `CAP_SYS_NICE` or `RLIMIT_NICE`) all run alike.
pub(crate) fn run_first() {
    if let Err(error) = setpriority_process(Some(gettid()), FIRST) {
        tracing::debug!(%error, "this thread runs like the others");
    }
}
