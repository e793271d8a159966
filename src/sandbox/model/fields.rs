//! The fields of a JSON object, read one by one; `null` is as good as absent, and every mistake names its field.

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// A JSON object that fields are read from.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Reads `value`, which `param` names, as an object.
    pub(super) fn of(value: &'a Value, param: &str) -> Result<Self, Refusal> {
        let object = value
            .as_object()
            .ok_or_else(|| Refusal::value(param, format!("`{param}` must be an object")))?;
        Ok(Self { object })
    }

    /// The field `name`, unless it is absent or `null`.
    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub(super) fn text(self, name: &str) -> Result<Option<&'a str>, Refusal> {
        self.read(name, "a string", Value::as_str)
    }

    /// A list.
    pub(super) fn list(self, name: &str) -> Result<Option<&'a Vec<Value>>, Refusal> {
        self.read(name, "a list", Value::as_array)
    }

    /// `true` or `false`.
    pub(super) fn flag(self, name: &str) -> Result<Option<bool>, Refusal> {
        self.read(name, "true or false", Value::as_bool)
    }

    /// A whole number of `range`.
    pub(super) fn integer(
        self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, Refusal> {
        let (least, most) = (range.start(), range.end());
        let wanted = if *most == u64::MAX {
            format!("an integer of at least {least}")
        } else {
            format!("an integer from {least} to {most}")
        };
        self.read(name, &wanted, |value| {
            value.as_u64().filter(|number| range.contains(number))
        })
    }

    /// A number of `range`.
    pub(super) fn number(
        self,
        name: &str,
        range: std::ops::RangeInclusive<f64>,
    ) -> Result<Option<f64>, Refusal> {
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        self.read(name, &wanted, |value| {
            value.as_f64().filter(|number| range.contains(number))
        })
    }

    fn read<T>(
        self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        read(value)
            .map(Some)
            .ok_or_else(|| Refusal::value(name, format!("`{name}` must be {wanted}")))
    }
}
