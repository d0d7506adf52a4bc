//! ETags of items, and the preconditions that name them (RFC 9110 section 13).

use http::HeaderMap;
use http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use tandem_protocol::item::Position;
use tandem_protocol::term::ActivationId;

/// The ETag of an item that was last changed by this update.
pub(in crate::http) fn of(changed: Position) -> String {
    format!("\"{}\"", bare(changed))
}

/// As [`of`], without quotes.
pub(in crate::http) fn bare(changed: Position) -> String {
    format!("{:x}-{}", changed.activation.0, changed.sequence)
}

fn read(tag: &str) -> Option<Position> {
    let tag = tag.trim().trim_start_matches("W/");
    let tag = tag.strip_prefix('"')?.strip_suffix('"')?;
    let (activation, sequence) = tag.split_once('-')?;
    let activation = ActivationId(u64::from_str_radix(activation, 16).ok()?);
    Some(Position { activation, sequence: sequence.parse().ok()? })
}

/// What must hold for a change to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::http) struct Conditions {
    matches: Option<Tags>,
    none_matches: Option<Tags>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    Any,
    /// What is no tag of ours equals no item.
    These(Vec<Position>),
}

impl Tags {
    fn read(text: &str) -> Tags {
        if text.trim() == "*" {
            return Tags::Any;
        }
        Tags::These(text.split(',').filter_map(read).collect())
    }

    fn hold(&self, current: Option<Position>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::These(tags), Some(current)) => tags.contains(&current),
        }
    }
}

impl Conditions {
    /// The conditions of a request.
    pub(super) fn of(headers: &HeaderMap) -> Conditions {
        let joined = |name: HeaderName| {
            let values: Vec<&str> =
                headers.get_all(name).iter().map(|v| v.to_str().unwrap_or_default()).collect();
            (!values.is_empty()).then(|| values.join(","))
        };
        Conditions::new(joined(IF_MATCH).as_deref(), joined(IF_NONE_MATCH).as_deref())
    }

    /// Conditions as the two headers have them.
    pub(super) fn new(matches: Option<&str>, none_matches: Option<&str>) -> Conditions {
        Conditions { matches: matches.map(Tags::read), none_matches: none_matches.map(Tags::read) }
    }

    /// Whether anything is asked for at all.
    pub(super) fn is_empty(&self) -> bool {
        *self == Conditions::default()
    }

    /// Whether they hold for an item that is at `current` (`None`: there is none).
    pub(super) fn hold(&self, current: Option<Position>) -> bool {
        self.matches.as_ref().is_none_or(|tags| tags.hold(current))
            && self.none_matches.as_ref().is_none_or(|tags| !tags.hold(current))
    }
}

#[cfg(test)]
mod tests {
    use tandem_protocol::item::Position;
    use tandem_protocol::term::ActivationId;

    use super::{Conditions, of};

    #[test]
    fn conditions_hold_as_the_standard_says() {
        let at = Position { activation: ActivationId(0x1a), sequence: 7 };
        assert_eq!(of(at), "\"1a-7\"");
        for (matches, none_matches, there, absent) in [
            (None, None, true, true),
            (Some("\"1a-7\""), None, true, false),
            (Some("\"2-1\", W/\"1a-7\""), None, true, false),
            (Some("\"1a-8\""), None, false, false),
            (Some("1a-7"), None, false, false),
            (Some(""), None, false, false),
            (Some("*"), None, true, false),
            (None, Some("*"), false, true),
            (None, Some("\"1a-7\""), false, true),
            (None, Some("\"1a-8\""), true, true),
            (Some("*"), Some("\"1a-7\""), false, false),
        ] {
            let conditions = Conditions::new(matches, none_matches);
            let held = (conditions.hold(Some(at)), conditions.hold(None));
            assert_eq!(held, (there, absent), "{matches:?} {none_matches:?}");
        }
    }
}
