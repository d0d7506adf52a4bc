//! Reads what gateways and pages say: JSON text to the types of the session protocol.
//!
//! The types could read themselves, but in the browser the code which serde derives for them (each
//! struct as a map and as a sequence, all of it once more behind a tag) is three times as large as
//! the whole machine. Here a message is parsed once into a tree, and its fields are taken out by
//! name. The tests hold this reading to serde's: what the protocol writes is read back as it was.

mod page;
mod session;
#[cfg(test)]
mod tests;

use serde_json::Value;
use tandem_client::protocol::wire::session::Object;

pub(crate) use page::{FromPage, from_page};
pub(crate) use session::server_message;

/// A field that is missing or is not what it must be; an empty name stands for the whole text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl Malformed {
    /// For people.
    pub(crate) fn text(self) -> String {
        match self.0 {
            "" => "it is no JSON object".to_owned(),
            field => ["its field \"", field, "\" is missing or wrong"].concat(),
        }
    }
}

type Read<T> = Result<T, Malformed>;

/// The fields of an object that are not taken yet.
struct Fields(Object);

impl Fields {
    fn parse(text: &str) -> Read<Fields> {
        match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Ok(Fields(object)),
            Ok(_) | Err(_) => Err(Malformed("")),
        }
    }

    /// A field as it is; null where there is none.
    fn any(&mut self, name: &'static str) -> Value {
        self.0.get_mut(name).map(Value::take).unwrap_or_default()
    }

    /// A text that may be missing.
    fn maybe_text(&mut self, name: &'static str) -> Read<Option<String>> {
        match self.any(name) {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => Err(Malformed(name)),
        }
    }

    fn text(&mut self, name: &'static str) -> Read<String> {
        self.maybe_text(name)?.ok_or(Malformed(name))
    }

    /// A text that is empty where it is missing.
    fn text_or_empty(&mut self, name: &'static str) -> Read<String> {
        Ok(self.maybe_text(name)?.unwrap_or_default())
    }

    /// A whole number that may be missing.
    fn maybe_number(&mut self, name: &'static str) -> Read<Option<u64>> {
        match self.any(name) {
            Value::Null => Ok(None),
            value => value.as_u64().map(Some).ok_or(Malformed(name)),
        }
    }

    fn number(&mut self, name: &'static str) -> Read<u64> {
        self.maybe_number(name)?.ok_or(Malformed(name))
    }

    fn number_or_zero(&mut self, name: &'static str) -> Read<u64> {
        Ok(self.maybe_number(name)?.unwrap_or_default())
    }

    fn flag_or(&mut self, name: &'static str, otherwise: bool) -> Read<bool> {
        match self.any(name) {
            Value::Null => Ok(otherwise),
            Value::Bool(flag) => Ok(flag),
            _ => Err(Malformed(name)),
        }
    }

    fn flag(&mut self, name: &'static str) -> Read<bool> {
        match self.any(name) {
            Value::Bool(flag) => Ok(flag),
            _ => Err(Malformed(name)),
        }
    }

    /// An object; an empty one where it is missing.
    fn object(&mut self, name: &'static str) -> Read<Object> {
        match self.any(name) {
            Value::Null => Ok(Object::new()),
            Value::Object(object) => Ok(object),
            _ => Err(Malformed(name)),
        }
    }

    /// The fields of an object that may be missing.
    fn maybe_fields(&mut self, name: &'static str) -> Read<Option<Fields>> {
        match self.any(name) {
            Value::Null => Ok(None),
            Value::Object(object) => Ok(Some(Fields(object))),
            _ => Err(Malformed(name)),
        }
    }

    fn fields(&mut self, name: &'static str) -> Read<Fields> {
        self.maybe_fields(name)?.ok_or(Malformed(name))
    }

    /// A list of objects, each read by `read`; an empty one where it is missing.
    fn list<T>(&mut self, name: &'static str, read: fn(Fields) -> Read<T>) -> Read<Vec<T>> {
        let mut list = Vec::new();
        for value in self.values(name)? {
            let Value::Object(object) = value else { return Err(Malformed(name)) };
            list.push(read(Fields(object))?);
        }
        Ok(list)
    }

    fn values(&mut self, name: &'static str) -> Read<Vec<Value>> {
        match self.any(name) {
            Value::Null => Ok(Vec::new()),
            Value::Array(values) => Ok(values),
            _ => Err(Malformed(name)),
        }
    }

    /// A word of a closed list.
    fn word<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Read<T> {
        let text = self.text(name)?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or(Malformed(name))
    }

    /// A name, such as a node's id.
    fn name<T: TryFrom<String>>(&mut self, name: &'static str) -> Read<T> {
        self.text(name)?.try_into().map_err(|_| Malformed(name))
    }

    fn maybe_name<T: TryFrom<String>>(&mut self, name: &'static str) -> Read<Option<T>> {
        let text = self.maybe_text(name)?;
        text.map(|text| text.try_into().map_err(|_| Malformed(name))).transpose()
    }
}
