//! Reads what gateways and pages say: JSON text to the types of the session protocol.
//!
//! The types could read themselves, but in the browser the code which serde derives for them (each
//! struct as a map and as a sequence, all of it once more behind a tag) is three times as large as
//! the whole machine. Here a message is parsed once into a tree, and its fields are taken out by
//! name. The tests hold this reading to serde's: what the protocol writes is read back as it was.

#[macro_use]
mod words;
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

/// The fields of an object that are not taken yet. What is wrong with one is remembered and said
/// at the end: a way out after each field would double the code.
struct Fields {
    object: Object,
    wrong: Option<&'static str>,
}

impl Fields {
    fn new(object: Object) -> Fields {
        Fields { object, wrong: None }
    }

    fn parse(text: &str) -> Read<Fields> {
        match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Ok(Fields::new(object)),
            Ok(_) | Err(_) => Err(Malformed("")),
        }
    }

    /// What was made of the fields, unless one of them was wrong.
    fn done<T>(self, made: T) -> Read<T> {
        match self.wrong {
            None => Ok(made),
            Some(name) => Err(Malformed(name)),
        }
    }

    /// Remembers the first field that is wrong.
    fn wrong(&mut self, name: &'static str) {
        self.wrong.get_or_insert(name);
    }

    /// A field as it is; null where there is none.
    fn any(&mut self, name: &'static str) -> Value {
        self.object.get_mut(name).map(Value::take).unwrap_or_default()
    }

    /// A text that may be missing.
    fn maybe_text(&mut self, name: &'static str) -> Option<String> {
        match self.any(name) {
            Value::Null => None,
            Value::String(text) => Some(text),
            _ => {
                self.wrong(name);
                None
            }
        }
    }

    fn text(&mut self, name: &'static str) -> String {
        match self.maybe_text(name) {
            Some(text) => text,
            None => {
                self.wrong(name);
                String::new()
            }
        }
    }

    /// A text that is empty where it is missing.
    fn text_or_empty(&mut self, name: &'static str) -> String {
        self.maybe_text(name).unwrap_or_default()
    }

    /// A whole number that may be missing.
    fn maybe_number(&mut self, name: &'static str) -> Option<u64> {
        let value = self.any(name);
        let number = value.as_u64();
        if number.is_none() && !value.is_null() {
            self.wrong(name);
        }
        number
    }

    fn number(&mut self, name: &'static str) -> u64 {
        let number = self.maybe_number(name);
        if number.is_none() {
            self.wrong(name);
        }
        number.unwrap_or_default()
    }

    fn number_or_zero(&mut self, name: &'static str) -> u64 {
        self.maybe_number(name).unwrap_or_default()
    }

    fn flag_or(&mut self, name: &'static str, otherwise: bool) -> bool {
        match self.any(name) {
            Value::Null => otherwise,
            Value::Bool(flag) => flag,
            _ => {
                self.wrong(name);
                otherwise
            }
        }
    }

    fn flag(&mut self, name: &'static str) -> bool {
        match self.any(name) {
            Value::Bool(flag) => flag,
            _ => {
                self.wrong(name);
                false
            }
        }
    }

    /// An object that may be missing.
    fn maybe_object(&mut self, name: &'static str) -> Option<Object> {
        match self.any(name) {
            Value::Null => None,
            Value::Object(object) => Some(object),
            _ => {
                self.wrong(name);
                None
            }
        }
    }

    /// An object; an empty one where it is missing.
    fn object(&mut self, name: &'static str) -> Object {
        self.maybe_object(name).unwrap_or_default()
    }

    /// The fields of an object that may be missing, read by `read`.
    fn maybe<T>(&mut self, name: &'static str, read: fn(Fields) -> Read<T>) -> Read<Option<T>> {
        self.maybe_object(name).map(|object| read(Fields::new(object))).transpose()
    }

    /// The fields of an object.
    fn fields(&mut self, name: &'static str) -> Read<Fields> {
        self.maybe_object(name).map(Fields::new).ok_or(Malformed(name))
    }

    /// A list of objects, each read by `read`; an empty one where it is missing.
    fn list<T>(&mut self, name: &'static str, read: fn(Fields) -> Read<T>) -> Read<Vec<T>> {
        let mut list = Vec::new();
        for value in self.values(name) {
            let Value::Object(object) = value else { return Err(Malformed(name)) };
            list.push(read(Fields::new(object))?);
        }
        Ok(list)
    }

    fn values(&mut self, name: &'static str) -> Vec<Value> {
        match self.any(name) {
            Value::Null => Vec::new(),
            Value::Array(values) => values,
            _ => {
                self.wrong(name);
                Vec::new()
            }
        }
    }

    /// A word of a closed list: its place there; the first one where it is wrong.
    fn place(&mut self, name: &'static str, words: &[&str]) -> usize {
        let text = self.text(name);
        let place = words.iter().position(|word| *word == text);
        if place.is_none() {
            self.wrong(name);
        }
        place.unwrap_or_default()
    }

    /// A name, such as a node's id.
    fn name<T: TryFrom<String>>(&mut self, name: &'static str) -> Read<T> {
        self.text(name).try_into().map_err(|_| Malformed(name))
    }

    fn maybe_name<T: TryFrom<String>>(&mut self, name: &'static str) -> Read<Option<T>> {
        let text = self.maybe_text(name);
        text.map(|text| text.try_into().map_err(|_| Malformed(name))).transpose()
    }
}
