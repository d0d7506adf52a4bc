//! How measured values lie.

use serde::Serialize;

/// Values in order of size, in five numbers.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) count: usize,
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// By nearest rank.
    pub(crate) fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |share: usize| {
            let rank = (values.len() * share).div_ceil(100).max(1) - 1;
            values.get(rank).copied().unwrap_or_default()
        };
        Spread { count: values.len(), min: at(0), median: at(50), p99: at(99), max: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn a_spread_is_by_nearest_rank() {
        let spread = Spread::of((1..=100).map(f64::from).collect());
        assert_eq!((spread.min, spread.median, spread.p99, spread.max), (1.0, 50.0, 99.0, 100.0));
        let one = Spread::of(vec![7.0]);
        assert_eq!((one.min, one.median, one.p99, one.max), (7.0, 7.0, 7.0, 7.0));
        assert_eq!(Spread::of(Vec::new()).count, 0);
    }
}
