//! Lines for programs, each an object: the time, the level, the fields, the module, and the innermost span.

use std::{collections::BTreeMap, fmt};

use serde_json::{Value, value::RawValue};
use tracing::{
    Metadata,
    field::{Field, Visit},
};

use super::{escape, number};

/// What stands before the fields.
pub(super) fn head(line: &mut String, metadata: &Metadata<'_>, time: impl FnOnce(&mut String)) {
    line.push_str("{\"timestamp\":\"");
    time(line);
    line.push_str("\",\"level\":\"");
    line.push_str(metadata.level().as_str());
    line.push('"');
}

/// What stands behind the fields; `span` is the name of the innermost span, and its fields as [`Members`] wrote them.
pub(super) fn tail(line: &mut String, metadata: &Metadata<'_>, span: Option<(&str, &str)>) {
    line.push_str(",\"target\":");
    escape::json(line, metadata.target());
    if let Some((name, fields)) = span {
        line.push_str(",\"span\":{");
        line.push_str(fields);
        let comma = if fields.is_empty() { "" } else { "," };
        line.push_str(comma);
        line.push_str("\"name\":");
        escape::json(line, name);
        line.push('}');
    }
    line.push('}');
}

/// Writes fields as members of an object, without its braces.
pub(super) struct Members<'l> {
    line: &'l mut String,
    is_first: bool,
}

impl<'l> Members<'l> {
    /// Adds to the members that `line` ends with.
    pub(super) fn behind(line: &'l mut String) -> Self {
        Self {
            line,
            is_first: false,
        }
    }

    /// The first members of an object, or more of those that are all of `line`.
    pub(super) fn of(line: &'l mut String) -> Self {
        let is_first = line.is_empty();
        Self { line, is_first }
    }

    fn name(&mut self, field: &Field) -> &mut String {
        if !std::mem::take(&mut self.is_first) {
            self.line.push(',');
        }
        escape::json(self.line, field.name());
        self.line.push(':');
        self.line
    }
}

impl Visit for Members<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        let line = self.name(field);
        if !number::tenths(line, value) {
            // `null` for what JSON has no number for.
            line.push_str(&Value::from(value).to_string());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        number::whole(self.name(field), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        number::whole(self.name(field), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field)
            .push_str(if value { "true" } else { "false" });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        escape::json(self.name(field), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        escape::json_of(self.name(field), |line| {
            // Writing to a string cannot fail; a value that does is left out from there on.
            let _ = fmt::Write::write_fmt(line, format_args!("{value:?}"));
        });
    }
}

/// Members by name, each with what was said of it last.
pub(super) fn sorted(members: &str) -> String {
    let object = format!("{{{members}}}");
    let Ok(values) = serde_json::from_str::<BTreeMap<String, &RawValue>>(&object) else {
        return members.to_owned();
    };
    let mut sorted = String::with_capacity(members.len());
    for (name, value) in values {
        if !sorted.is_empty() {
            sorted.push(',');
        }
        escape::json(&mut sorted, &name);
        sorted.push(':');
        sorted.push_str(value.get());
    }
    sorted
}
