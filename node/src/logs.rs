//! The newest log lines, held in memory for people who look over HTTP, with a level for each
//! provider.
//!
//! ```text
//! tracing event -> INFO or above: held
//!               -> DEBUG, TRACE:  held if it names a provider whose level allows it
//! ```
//!
//! What goes to stderr is a matter of `log_level` and not of this room. A level that nobody asked
//! for costs nothing: its places in the code stay switched off.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tandem_protocol::time::UnixMs;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Lines held: about an hour of a busy gateway, a few MiB.
const LINES_MAX: usize = 5_000;
/// A line is cut after so many bytes.
const LINE_MAX_BYTES: usize = 1_024;
/// Providers with a level of their own: as many as are told apart in the counts.
const LEVELS_MAX: usize = 128;

/// The least level of which lines are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Minimum {
    /// What a user can notice.
    #[default]
    Info,
    /// Each pull, apply and receipt.
    Debug,
    /// Each update.
    Trace,
}

impl Minimum {
    fn of(level: Level) -> Minimum {
        match level {
            Level::TRACE => Minimum::Trace,
            Level::DEBUG => Minimum::Debug,
            _ => Minimum::Info,
        }
    }
}

impl std::str::FromStr for Minimum {
    type Err = String;

    fn from_str(text: &str) -> Result<Minimum, String> {
        match text.to_ascii_uppercase().as_str() {
            "INFO" => Ok(Minimum::Info),
            "DEBUG" => Ok(Minimum::Debug),
            "TRACE" => Ok(Minimum::Trace),
            _ => Err(format!("{text} is not a level: INFO, DEBUG or TRACE")),
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When it was written.
    pub time: UnixMs,
    /// ERROR, WARN, INFO, DEBUG or TRACE.
    pub level: &'static str,
    /// Where in the software it was written.
    pub logger: &'static str,
    /// The provider that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// What to read.
    pub text: String,
}

/// The lines and their levels. Clones see the same ones.
#[derive(Debug, Clone, Default)]
pub struct Handle {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<VecDeque<Line>>,
    levels: Mutex<BTreeMap<String, Minimum>>,
    /// The lowest level that any provider has, so that a look at it needs no lock.
    lowest: AtomicU8,
}

/// More providers than can have a level of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no more than {LEVELS_MAX} providers can have a level of their own")]
pub struct TooMany;

impl Handle {
    /// Sets from which level on lines of a provider are held.
    ///
    /// # Errors
    /// Too many providers have one already.
    pub fn set(&self, provider: &str, minimum: Minimum) -> Result<(), TooMany> {
        let mut levels = lock(&self.shared.levels);
        if minimum == Minimum::Info {
            levels.remove(provider);
        } else if levels.len() < LEVELS_MAX || levels.contains_key(provider) {
            levels.insert(provider.to_owned(), minimum);
        } else {
            return Err(TooMany);
        }
        let lowest = levels.values().copied().max().unwrap_or_default();
        self.shared.lowest.store(lowest as u8, Ordering::Relaxed);
        drop(levels);
        // Places in the code that were switched off ask again.
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    /// Providers whose level is not INFO.
    pub fn levels(&self) -> BTreeMap<String, Minimum> {
        lock(&self.shared.levels).clone()
    }

    /// The newest lines, newest first: of a provider (`None`: of all), at this level or above.
    pub fn recent(&self, provider: Option<&str>, minimum: Minimum, most: usize) -> Vec<Line> {
        let wanted = |line: &&Line| {
            let level = line.level.parse().map_or(Minimum::Info, Minimum::of);
            level <= minimum && provider.is_none_or(|p| line.provider.as_deref() == Some(p))
        };
        lock(&self.shared.lines).iter().rev().filter(wanted).take(most).cloned().collect()
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        if !metadata.target().starts_with("tandem") || !metadata.is_event() {
            return false;
        }
        let level = Minimum::of(*metadata.level());
        level == Minimum::Info
            || (level as u8 <= self.shared.lowest.load(Ordering::Relaxed)
                && metadata.fields().field("provider").is_some())
    }

    fn push(&self, line: Line) {
        let mut lines = lock(&self.shared.lines);
        if lines.len() >= LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The layer that hands lines in.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let handle = self.clone();
        // Dynamic: a place in the code asks again whenever a level was set.
        let filter = tracing_subscriber::filter::dynamic_filter_fn({
            let handle = self.clone();
            move |metadata, _: &Context<'_, _>| handle.wants(metadata)
        })
        .with_callsite_filter({
            let handle = self.clone();
            move |metadata| match handle.wants(metadata) {
                true => tracing::subscriber::Interest::always(),
                false => tracing::subscriber::Interest::never(),
            }
        });
        Capture(handle).with_filter(filter)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes events as lines.
struct Capture(Handle);

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        let level = Minimum::of(*metadata.level());
        if level != Minimum::Info {
            let levels = lock(&self.0.shared.levels);
            let allowed = text.provider.as_ref().and_then(|p| levels.get(p)).copied();
            if allowed.unwrap_or_default() < level {
                return;
            }
        }
        let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.0.push(Line {
            time: UnixMs(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)),
            level: metadata.level().as_str(),
            logger: metadata.target(),
            provider: text.provider.take(),
            text: text.cut(),
        });
    }
}

/// An event's message and fields as one text.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
    provider: Option<String>,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "provider" => self.provider = Some(value.to_owned()),
            "message" => value.clone_into(&mut self.message),
            // Writing into a String cannot fail.
            name => drop(write!(self.fields, " {name}={value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl Text {
    fn cut(self) -> String {
        let mut text = self.message + &self.fields;
        if text.len() > LINE_MAX_BYTES {
            let end = (0..=LINE_MAX_BYTES).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Handle, LINES_MAX, Minimum};
    use tracing_subscriber::layer::SubscriberExt as _;

    /// One place in the code, whichever test asks.
    fn pull(provider: &str, n: u64) {
        tracing::debug!(provider, n, "pulled");
        tracing::trace!(provider, n, "update");
    }

    #[test]
    fn a_provider_is_followed_more_closely_when_asked() {
        let logs = Handle::default();
        let subscriber = tracing_subscriber::registry().with(logs.layer());
        tracing::subscriber::with_default(subscriber, || {
            pull("tags", 1);
            tracing::info!(peer = "b", "the link is up");
            tracing::debug!("no provider");
            assert_eq!(logs.recent(None, Minimum::Trace, 9).len(), 1);
            logs.set("tags", Minimum::Debug).unwrap();
            pull("tags", 2);
            pull("alarms", 2);
            logs.set("tags", Minimum::Trace).unwrap();
            pull("tags", 3);
            logs.set("tags", Minimum::Info).unwrap();
            pull("tags", 4);
        });
        let all = logs.recent(None, Minimum::Trace, 9);
        let texts: Vec<&str> = all.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["update n=3", "pulled n=3", "pulled n=2", "the link is up peer=b"]);
        assert_eq!(logs.recent(Some("tags"), Minimum::Debug, 9).len(), 2);
        assert_eq!(logs.recent(Some("alarms"), Minimum::Trace, 9).len(), 0);
        assert_eq!(logs.recent(None, Minimum::Info, 9).len(), 1);
        assert!(logs.levels().is_empty());
    }

    #[test]
    fn lines_are_bounded_in_number_and_length() {
        let logs = Handle::default();
        let subscriber = tracing_subscriber::registry().with(logs.layer());
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..LINES_MAX + 7 {
                tracing::info!(n, "line");
            }
            tracing::info!("{}", "ä".repeat(2_000));
        });
        let all = logs.recent(None, Minimum::Trace, usize::MAX);
        assert_eq!(all.len(), LINES_MAX);
        assert!(all[0].text.len() < 1_030 && all[0].text.ends_with('…'), "{}", all[0].text.len());
    }
}
