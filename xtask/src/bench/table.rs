//! What was measured, as rows: a table for people, the same as JSON.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::spread::Spread;

/// Which side of its target a value must be on.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) enum Target {
    /// The median is above.
    Above(f64),
    /// The greatest value is below.
    MaxBelow(f64),
    /// The p99 is below.
    P99Below(f64),
}

/// One measured thing.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    what: String,
    unit: String,
    spread: Spread,
    target: Option<Target>,
    /// The same of a Redis primary and replica in this run.
    redis: Option<Spread>,
    note: String,
}

impl Row {
    pub(super) fn new(what: &str, unit: &str, spread: Spread) -> Row {
        let (what, unit) = (what.to_owned(), unit.to_owned());
        Row { what, unit, spread, target: None, redis: None, note: String::new() }
    }

    pub(super) fn target(mut self, target: Target) -> Row {
        self.target = Some(target);
        self
    }

    pub(super) fn beside(mut self, redis: Option<Spread>) -> Row {
        self.redis = redis;
        self
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Row {
        self.note = note.into();
        self
    }

    fn met(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::Above(least) => self.spread.median > least,
            Target::MaxBelow(most) => self.spread.max < most,
            Target::P99Below(most) => self.spread.p99 < most,
        })
    }

    fn cells(&self) -> Vec<String> {
        let Spread { min, median, p99, max, .. } = &self.spread;
        let target = self.target.map(|target| match target {
            Target::Above(least) => format!("> {}", number(least)),
            Target::MaxBelow(most) => format!("max < {}", number(most)),
            Target::P99Below(most) => format!("p99 < {}", number(most)),
        });
        let target = match (target, self.met()) {
            (Some(target), Some(false)) => format!("{target} ✗"),
            (Some(target), _) => target,
            (None, _) => String::new(),
        };
        let redis = self.redis.as_ref();
        let ratio = redis.map(|redis| format!("{:.2}", median / redis.median));
        let mut cells = vec![format!("{}, {}", self.what, self.unit)];
        cells.extend([min, median, p99, max].map(|value| number(*value)));
        cells.push(target);
        cells.push(redis.map_or_else(String::new, |r| number(r.median)));
        cells.push(redis.map_or_else(String::new, |r| number(r.p99)));
        cells.extend([ratio.unwrap_or_default(), self.note.clone()]);
        cells
    }

    /// What is not as it should be.
    pub(super) fn problem(&self) -> Option<String> {
        let Spread { median, p99, max, .. } = &self.spread;
        (self.met() == Some(false)).then(|| {
            format!(
                "{}: median {} {unit}, p99 {}, max {}: the target is not met",
                self.what,
                number(*median),
                number(*p99),
                number(*max),
                unit = self.unit
            )
        })
    }
}

/// The table.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "what",
        "min",
        "median",
        "p99",
        "max",
        "target",
        "Redis median",
        "p99",
        "ratio",
        "",
    ]);
    for row in rows {
        table.add_row(row.cells());
    }
    for column in table.column_iter_mut().skip(1).take(8) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// Digits for people: few where there are many before the point.
fn number(value: f64) -> String {
    if value >= 1000.0 {
        let whole = format!("{value:.0}");
        let mut text = String::new();
        for (place, digit) in whole.chars().enumerate() {
            if place > 0 && (whole.len() - place) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        return text;
    }
    if value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Row, Target, number};
    use crate::spread::Spread;

    #[test]
    fn numbers_are_short() {
        let shown = [1_234_567.8, 999.9, 12.34, 3.0].map(number);
        assert_eq!(shown, ["1,234,568", "1000", "12.3", "3"]);
    }

    #[test]
    fn a_row_below_its_target_is_a_problem() {
        let spread = || Spread::of(vec![4_000.0, 4_500.0]);
        let row = |target| Row::new("updates", "1/s", spread()).target(target);
        assert!(row(Target::Above(5_000.0)).problem().is_some());
        assert!(row(Target::Above(1_000.0)).problem().is_none());
        assert!(row(Target::MaxBelow(4_400.0)).problem().is_some());
    }
}
