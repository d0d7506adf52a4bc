//! What the commands print: tables for people, JSON for scripts.
//!
//! Colours only on a terminal that wants them (`NO_COLOR` is heeded); a pipe gets plain text.

use std::io::Write as _;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use tandem_protocol::time::UnixMs;

/// How a cell is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// Of less weight.
    Dim,
    /// As it should be, or new.
    Good,
    /// To be looked at, or changed.
    Warn,
    /// Wrong, or gone.
    Bad,
}

/// A cell in a tone.
pub fn cell(text: impl ToString, tone: Tone) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Plain => cell,
        Tone::Dim => cell.add_attribute(Attribute::Dim),
        Tone::Good => cell.fg(Color::Green),
        Tone::Warn => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
    }
}

/// A table with these heads.
pub fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(heads.iter().map(|head| Cell::new(head).add_attribute(Attribute::Bold)));
    if std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty()) {
        table.force_no_tty();
    }
    table
}

/// Prints a line, or a table. Nobody reading is no fault.
pub fn say(text: &impl ToString) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.to_string());
    let _ = out.flush();
}

/// Prints one JSON value.
pub fn json(value: &serde_json::Value) {
    say(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// How many of something there are, in words: `1 change`, `2 changes`.
pub fn count(number: impl TryInto<u64>, one: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes.div_ceil(1_024)),
        _ => format!("{} MiB", bytes.div_ceil(1_048_576)),
    }
}

/// Whether this process may colour what it says.
fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    !refused && std::io::IsTerminal::is_terminal(&std::io::stdout())
}

/// Text outside a table in a tone.
pub fn tinted(text: &str, tone: Tone) -> String {
    let code = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Dim => "2",
        Tone::Good => "32",
        Tone::Warn => "33",
        Tone::Bad => "31",
    };
    if colours() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// Milliseconds for people, with two units; `-` where there is none.
pub fn duration(ms: i64) -> String {
    let Ok(seconds) = u64::try_from(ms).map(|ms| ms / 1_000) else { return "-".to_owned() };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A wall time in UTC, as RFC 3339 writes it.
pub fn utc(time: UnixMs) -> String {
    let (days, ms) = (time.0 / 86_400_000, time.0 % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    let milli = ms % 1_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Year, month and day of a day since 1970 (Hinnant, "chrono-compatible low-level date
/// algorithms": eras of 400 years that begin in March).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::{duration, utc};
    use tandem_protocol::time::UnixMs;

    #[test]
    fn times_are_as_people_read_them() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_791_586_091_827, "2026-10-09T22:48:11.827Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(utc(UnixMs(ms)), text);
        }
        for (ms, text) in [(-1, "-"), (999, "0 s"), (61_000, "1 min 1 s"), (90_000_000, "1 d 1 h")]
        {
            assert_eq!(duration(ms), text);
        }
    }
}
