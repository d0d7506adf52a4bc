//! Lines at WARN and ERROR that a test may list: what a node says on purpose, word for word. A node
//! that is killed, cut off or taken over from says nothing of the kind.

/// A node that was stalled under its permit.
pub(crate) const STALLED: &str = "fence: permit ran out after a stall";
/// Both nodes worked; what one of them changed is put aside.
pub(crate) const ARCHIVED: &str = "are written to the archive; the peer's state is in force";
/// The disk, as the rules and as the store say it.
pub(crate) const DISK_FAILED: &str = "disk: the disk failed: values go on";
pub(crate) const STORE_FAILED: &str = "the store failed; nothing more is stored";
pub(crate) const DISK_FULL: &str = "disk: the disk is full: values go on";
/// The config updates that wait for the backup take more than they may.
pub(crate) const QUEUE_PAST: &str =
    "queue: the config updates that wait for the other node are past";
/// The other node's disk failed too, or is full.
pub(crate) const NOT_HANDED_OVER: &str = "switchover: the level was not handed over: ";
/// A pair that must not be, at the node that refuses and at the one that is refused.
pub(crate) const REFUSED: &str = "refused: refused a link: ";
pub(crate) const REFUSED_THERE: &str = "refused: the peer refused a link: ";
/// A connection that is no link.
pub(crate) const NO_MESSAGE: &str = "refused: bytes that are no peer message";
pub(crate) const BEFORE_HELLO: &str = "refused: a message before the hello";
