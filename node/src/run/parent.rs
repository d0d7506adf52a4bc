//! A node that follows its parent: it ends when the process that started it does, however that
//! one ended, also while this one is stopped.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::error::{Error, Result};

/// Ends this process with its parent's thread that started it.
///
/// # Errors
/// The system refuses, or the parent is gone already.
pub(super) fn follow() -> Result<()> {
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| Error::Setup { what: "follow the parent", reason: e.to_string() })?;
    // It may have ended in between, without a signal to come.
    if getppid() == parent {
        Ok(())
    } else {
        let reason = "it has ended".to_owned();
        Err(Error::Setup { what: "follow the parent", reason })
    }
}
