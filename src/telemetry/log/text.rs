//! Lines for people: `2026-01-31T08:15:30.123456Z  INFO request{id=req_1}: POST /v1/chat/completions status=200`.

use std::{error::Error, fmt};

use tracing::{
    Level,
    field::{Field, Visit},
};

use super::{escape, number};

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const ITALIC: &str = "\x1b[3m";
const PLAIN: &str = "\x1b[0m";

/// Whether a line has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// For files, pipes and journals.
    Black,
    /// For terminals.
    Coloured,
}

impl Ink {
    /// Writes `text` in a style that only a terminal shows.
    pub(super) fn paint(self, line: &mut String, style: &str, text: &str) {
        self.painted(line, style, |line| line.push_str(text));
    }

    fn painted(self, line: &mut String, style: &str, write: impl FnOnce(&mut String)) {
        match self {
            Self::Black => write(line),
            Self::Coloured => {
                line.push_str(style);
                write(line);
                line.push_str(PLAIN);
            }
        }
    }

    /// What stands before the spans.
    pub(super) fn head(self, line: &mut String, level: Level, time: impl FnOnce(&mut String)) {
        self.painted(line, DIM, time);
        let (colour, name) = match level {
            Level::ERROR => ("\x1b[31m", "ERROR"),
            Level::WARN => ("\x1b[33m", " WARN"),
            Level::INFO => ("\x1b[32m", " INFO"),
            Level::DEBUG => ("\x1b[34m", "DEBUG"),
            Level::TRACE => ("\x1b[35m", "TRACE"),
        };
        line.push(' ');
        self.paint(line, colour, name);
        line.push(' ');
    }

    /// One span of those that an event happened in, with its fields as [`Values`] wrote them.
    pub(super) fn span(self, line: &mut String, name: &str, fields: &str) {
        self.paint(line, BOLD, name);
        if !fields.is_empty() {
            self.paint(line, BOLD, "{");
            line.push_str(fields);
            self.paint(line, BOLD, "}");
        }
        self.paint(line, DIM, ":");
    }
}

/// Writes fields: `message name=value other="text"`.
pub(super) struct Values<'l> {
    line: &'l mut String,
    ink: Ink,
    is_first: bool,
}

impl<'l> Values<'l> {
    pub(super) fn new(line: &'l mut String, ink: Ink) -> Self {
        Self {
            line,
            ink,
            is_first: true,
        }
    }

    /// Writes what stands before the value, which for the message is no name; gives where the value goes.
    fn name(&mut self, field: &Field) -> &mut String {
        if !std::mem::take(&mut self.is_first) {
            self.line.push(' ');
        }
        if is_message(field) {
            return self.line;
        }
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        match self.ink {
            Ink::Black => {
                self.line.push_str(name);
                self.line.push('=');
            }
            Ink::Coloured => {
                self.ink.paint(self.line, ITALIC, name);
                self.ink.paint(self.line, DIM, "=");
            }
        }
        self.line
    }
}

impl Visit for Values<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if !number::tenths(self.name(field), value) {
            write(self.line, &value);
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
        let line = self.name(field);
        if is_message(field) {
            escape::tamed(line, |line| line.push_str(value));
        } else {
            escape::quoted(line, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &tracing::field::display(value));
        let Some(mut source) = value.source() else {
            return;
        };
        self.line.push(' ');
        self.ink.paint(self.line, ITALIC, field.name());
        self.ink.paint(self.line, ITALIC, ".sources");
        self.ink.paint(self.line, DIM, "=");
        self.line.push('[');
        loop {
            escape::tamed(self.line, |line| {
                write(line, &tracing::field::display(source))
            });
            match source.source() {
                Some(deeper) => source = deeper,
                None => break,
            }
            self.line.push_str(", ");
        }
        self.line.push(']');
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        escape::tamed(self.name(field), |line| write(line, value));
    }
}

fn is_message(field: &Field) -> bool {
    field.name() == "message"
}

fn write(line: &mut String, value: &dyn fmt::Debug) {
    // Writing to a string cannot fail; a value that does is left out from there on.
    let _ = fmt::Write::write_fmt(line, format_args!("{value:?}"));
}
