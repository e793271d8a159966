//! The fields of a request's body, checked as Django REST framework checks them.
//!
//! Every fault is collected, so that one answer tells all of them. The codes (`required`, `null`, `blank`, `invalid`, `max_length`,
//! `min_value`, `max_value`, `invalid_choice`) are the framework's, of which LightOn's documentation shows two.

use std::{collections::BTreeMap, ops::RangeInclusive};

use serde_json::{Map, Value};

use super::error::{Error, FieldError, type_word};

/// The fields of a body, and what was wrong with those that were read.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Fields {
    values: Map<String, Value>,
    faults: BTreeMap<String, Vec<FieldError>>,
}

impl Fields {
    /// The fields of a body that holds `values`.
    pub(super) fn new(values: Map<String, Value>) -> Self {
        Self {
            values,
            faults: BTreeMap::new(),
        }
    }

    /// Whether any field came at all.
    pub(in crate::sandbox) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The names of the fields that came.
    pub(in crate::sandbox) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Notes a fault of field `name`.
    pub(in crate::sandbox) fn reject(
        &mut self,
        name: &str,
        error: &'static str,
        detail: impl Into<String>,
    ) {
        let detail = detail.into();
        self.faults
            .entry(name.to_owned())
            .or_default()
            .push(FieldError { error, detail });
    }

    /// The answer to every fault that was noted.
    pub(in crate::sandbox) fn finish(self) -> Result<(), Error> {
        match self.faults.is_empty() {
            true => Ok(()),
            false => Err(Error::Invalid(self.faults)),
        }
    }

    /// Whether field `name` came as null.
    pub(in crate::sandbox) fn has_null(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(Value::is_null)
    }

    /// Field `name` as it came; `None` when it did not, or when it is null, which is a fault.
    pub(in crate::sandbox) fn value(&mut self, name: &str) -> Option<Value> {
        match self.values.get(name).cloned() {
            Some(Value::Null) => {
                self.reject(name, "null", "This field may not be null.");
                None
            }
            other => other,
        }
    }

    /// Notes that field `name` is missing, when it did not come.
    pub(in crate::sandbox) fn demand(&mut self, name: &str) {
        if !self.values.contains_key(name) {
            self.reject(name, "required", "This field is required.");
        }
    }

    /// A text of at most `longest` characters that is not blank.
    pub(in crate::sandbox) fn text(&mut self, name: &str, longest: usize) -> Option<String> {
        let text = self.any_text(name, longest)?;
        if text.trim().is_empty() {
            self.reject(name, "blank", "This field may not be blank.");
            return None;
        }
        Some(text)
    }

    /// A text of at most `longest` characters, empty perhaps.
    pub(in crate::sandbox) fn any_text(&mut self, name: &str, longest: usize) -> Option<String> {
        let text = match self.value(name)? {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            _ => {
                self.reject(name, "invalid", "Not a valid string.");
                return None;
            }
        };
        if text.chars().count() > longest {
            self.reject(
                name,
                "max_length",
                format!("Ensure this field has no more than {longest} characters."),
            );
            return None;
        }
        Some(text)
    }

    /// A whole number within `range`; digits in a string will do.
    pub(in crate::sandbox) fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Option<i64> {
        let value = self.value(name)?;
        let Some(number) = whole(&value) else {
            self.reject(name, "invalid", "A valid integer is required.");
            return None;
        };
        if number < *range.start() {
            let detail = format!(
                "Ensure this value is greater than or equal to {}.",
                range.start()
            );
            self.reject(name, "min_value", detail);
            return None;
        }
        if number > *range.end() {
            self.reject(
                name,
                "max_value",
                format!(
                    "Ensure this value is less than or equal to {}.",
                    range.end()
                ),
            );
            return None;
        }
        Some(number)
    }

    /// A list of whole numbers: a JSON list, a repeated form field, or a form field that holds a JSON list. One bare number in a form
    /// is a list of one; in JSON it is a fault, as in `"workspace_id": 42`.
    pub(in crate::sandbox) fn integers(&mut self, name: &str) -> Option<Vec<i64>> {
        let items = self.list(name)?;
        let numbers: Option<Vec<i64>> = items.iter().map(whole).collect();
        if numbers.is_none() {
            self.reject(name, "invalid", "A valid integer is required.");
        }
        numbers
    }

    /// A list of texts, in any of the ways of [`Fields::integers`].
    pub(in crate::sandbox) fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let items = self.list(name)?;
        let texts: Option<Vec<String>> = items
            .into_iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect();
        if texts.is_none() {
            self.reject(name, "invalid", "Not a valid string.");
        }
        texts
    }

    /// True or false, in JSON or in words.
    pub(in crate::sandbox) fn flag(&mut self, name: &str) -> Option<bool> {
        let value = self.value(name)?;
        let flag = match &value {
            Value::Bool(flag) => Some(*flag),
            Value::String(word) => flag_word(word),
            Value::Number(number) => match number.as_i64() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                Some(_) | None => None,
            },
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        if flag.is_none() {
            self.reject(name, "invalid", "Must be a valid boolean.");
        }
        flag
    }

    /// One of the words that `known` takes.
    pub(in crate::sandbox) fn choice<T>(
        &mut self,
        name: &str,
        known: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(name)?;
        let chosen = value.as_str().and_then(&known);
        if chosen.is_none() {
            let word = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            self.reject(
                name,
                "invalid_choice",
                format!("\"{word}\" is not a valid choice."),
            );
        }
        chosen
    }

    /// A JSON object, or in a form the text of one.
    pub(in crate::sandbox) fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        let parsed = match self.value(name)? {
            Value::String(text) => serde_json::from_str(&text).ok(),
            other => Some(other),
        };
        match parsed {
            Some(Value::Object(object)) => Some(object),
            Some(_) | None => {
                self.reject(name, "invalid", "Value must be a JSON object.");
                None
            }
        }
    }

    fn list(&mut self, name: &str) -> Option<Vec<Value>> {
        match self.value(name)? {
            Value::Array(items) => Some(items),
            Value::String(text) => match serde_json::from_str(&text) {
                Ok(Value::Array(items)) => Some(items),
                Ok(_) | Err(_) => Some(vec![Value::String(text)]),
            },
            other => {
                let detail = format!(
                    "Expected a list of items but got type \"{}\".",
                    type_word(&other)
                );
                self.reject(name, "not_a_list", detail);
                None
            }
        }
    }
}

/// The truth that `word` tells, as query strings and forms write it.
pub(in crate::sandbox) fn flag_word(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Any JSON value, nested a little.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            "[0-9 \\[\\]{},\"-]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn read(value: &Value, how: usize) -> (bool, Result<(), Error>) {
        let mut fields = Fields::new(Map::from_iter([("x".to_owned(), value.clone())]));
        let came = match how {
            0 => fields.text("x", 5).is_some(),
            1 => fields.any_text("x", 5).is_some(),
            2 => fields.integer("x", 1..=100).is_some(),
            3 => fields.integers("x").is_some(),
            4 => fields.texts("x").is_some(),
            5 => fields.flag("x").is_some(),
            6 => fields
                .choice("x", |word| (word == "a").then_some(()))
                .is_some(),
            _ => fields.object("x").is_some(),
        };
        (came, fields.finish())
    }

    proptest! {
        #[test]
        fn a_value_is_either_read_or_told_to_be_wrong(value in values(), how in 0_usize..8) {
            let (came, finished) = read(&value, how);
            prop_assert_eq!(came, finished.is_ok(), "{} read in way {}", value, how);
        }
    }

    #[test]
    fn forms_write_lists_and_numbers_as_text() {
        for (value, expected) in [
            (json!("[1, 2]"), Some(vec![1, 2])),
            (json!("7"), Some(vec![7])),
            (json!(["7", "8"]), Some(vec![7, 8])),
            (json!([7, 8]), Some(vec![7, 8])),
            (json!(7), None),
            (json!("[1, \"x\"]"), None),
        ] {
            let mut fields = Fields::new(Map::from_iter([("x".to_owned(), value.clone())]));
            assert_eq!(fields.integers("x"), expected, "{value}");
        }
    }

    #[test]
    fn a_field_that_did_not_come_is_no_fault_unless_it_is_demanded() {
        let mut fields = Fields::default();
        assert_eq!(fields.integer("x", 1..=2), None);
        fields.demand("y");
        let Err(Error::Invalid(faults)) = fields.finish() else {
            panic!("no fault was told");
        };
        assert_eq!(faults.keys().collect::<Vec<_>>(), ["y"]);
    }
}
