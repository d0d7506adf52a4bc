//! What tasks of one thread share without a lock: news and turns.

pub(crate) mod news;
pub(crate) mod turns;
