//! The pure core of tags, alarms, writes and sessions: from a request and the items as they stand
//! to the changes that it makes and its answer.
//!
//! It leaves order, storing and answering to the gateway's door.
