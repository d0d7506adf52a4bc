//! How long ago kept updates were made here, by this node's own clock.
//!
//! Marks grow sparser where there are too many; a few outlive a restart in the ledger. A merge
//! orders by them what two nodes changed apart.

use std::collections::VecDeque;

use crate::limits::{AGE_MARKS_MAX, AGE_MARKS_STORED};
use crate::time::{Instant, UnixMs};

/// Marks closer than this say nothing new.
const APART_US: i64 = 10_000;

/// Sequences and when they were made, in microseconds of the driver's clock (before its zero for
/// those of an earlier run).
#[derive(Debug, Default)]
pub(super) struct Ages {
    marks: VecDeque<(u64, i64)>,
}

fn micros(now: Instant) -> i64 {
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}

impl Ages {
    /// What an earlier run stored.
    pub(super) fn restore(stored: &[(u64, UnixMs)], now: Instant, wall: UnixMs) -> Ages {
        let mark = |(sequence, at): &(u64, UnixMs)| {
            let ago_ms = i64::try_from(wall.0.saturating_sub(at.0)).unwrap_or(i64::MAX / 1_000);
            (*sequence, micros(now).saturating_sub(ago_ms.saturating_mul(1_000)))
        };
        Ages { marks: stored.iter().map(mark).collect() }
    }

    /// The update of this sequence is made now.
    pub(super) fn mark(&mut self, sequence: u64, now: Instant) {
        let at = micros(now);
        if self.marks.back().is_some_and(|(last, _)| *last >= sequence) {
            self.marks.retain(|(known, _)| *known < sequence);
        }
        if self.marks.back().is_some_and(|(_, last)| at - last < APART_US) {
            return;
        }
        self.marks.push_back((sequence, at));
        if self.marks.len() > AGE_MARKS_MAX {
            let mut index = 0_usize;
            self.marks.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    /// How long ago the update of this sequence was made, in milliseconds. What is older than all
    /// marks is as old as the first.
    pub(super) fn age_ms(&self, sequence: u64, now: Instant) -> u64 {
        let after = self.marks.partition_point(|(known, _)| *known <= sequence);
        let mark = self.marks.get(after.saturating_sub(1));
        let Some((_, at)) = mark else { return u64::MAX };
        u64::try_from(micros(now).saturating_sub(*at) / 1_000).unwrap_or(0)
    }
}

/// One more mark that outlives a restart.
pub(super) fn store(stored: &mut Vec<(u64, UnixMs)>, sequence: u64, wall: UnixMs) {
    stored.retain(|(known, _)| *known < sequence);
    stored.push((sequence, wall));
    if stored.len() > AGE_MARKS_STORED {
        let mut index = 0_usize;
        stored.retain(|_| {
            index += 1;
            index % 2 == 1
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Ages;
    use crate::limits::AGE_MARKS_MAX;
    use crate::time::{Instant, UnixMs};

    #[test]
    fn an_age_is_that_of_the_mark_before() {
        let at = |ms: u64| Instant::from_micros(ms * 1_000);
        let mut ages = Ages::restore(&[(3, UnixMs(1_000))], at(50), UnixMs(61_000));
        ages.mark(10, at(100));
        ages.mark(11, at(103));
        ages.mark(20, at(200));
        for (sequence, age) in
            [(3, 60_250), (9, 60_250), (10, 200), (15, 200), (20, 100), (1, 60_250)]
        {
            assert_eq!(ages.age_ms(sequence, at(300)), age, "{sequence}");
        }
    }

    #[test]
    fn marks_are_bounded() {
        let mut ages = Ages::default();
        for n in 0..20_000 {
            ages.mark(n, Instant::from_micros(n * 20_000));
        }
        assert!(ages.marks.len() <= AGE_MARKS_MAX);
        assert!(ages.age_ms(100, Instant::from_micros(20_000 * 20_000)) > 390_000);
    }
}
