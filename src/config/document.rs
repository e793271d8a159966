//! A TOML document as the operator wrote it: ordered tables of values, not yet settings.

use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// A table's keys and values in the order of the file, which is the order of upstreams and models.
pub(super) type Table = Vec<(String, Value)>;

/// A value as the operator wrote it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Value>),
    Table(Table),
    /// A date, with or without a time, as it is written.
    Date(String),
    /// What no setting can be: an integer beyond 64 bits.
    Unfit(&'static str),
}

impl Value {
    /// Names the kind of value, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Date(_) => "a date",
            Self::Unfit(kind) => kind,
        }
    }
}

/// Parses a document; a syntax error is told by line and column, never by the text there, which may be a secret.
pub(super) fn parse(text: &str) -> Result<Table, Problem> {
    let parsed = DeTable::parse(text).map_err(|error| {
        let place = match error.span() {
            Some(span) => place(text, span.start),
            None => "the file".to_owned(),
        };
        Problem::new(
            place,
            format!("this is not TOML ({})", error.message()),
            "mend the syntax there; other problems are told after it",
        )
    })?;
    Ok(table(parsed.get_ref()))
}

fn place(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    format!("line {line}, column {column}")
}

fn table(parsed: &DeTable<'_>) -> Table {
    let mut entries: Vec<_> = parsed.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
        .into_iter()
        .map(|(key, parsed)| (key.get_ref().to_string(), value(parsed.get_ref())))
        .collect()
}

fn value(parsed: &DeValue<'_>) -> Value {
    match parsed {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            let integer = i64::from_str_radix(number.as_str(), number.radix());
            integer.map_or(Value::Unfit("a number too large"), Value::Integer)
        }
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or(Value::Unfit("a number too large"), Value::Float),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| value(item.get_ref())).collect())
        }
        DeValue::Table(entries) => Value::Table(table(entries)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_keep_the_order_of_the_file() {
        let parsed = parse("[z]\na = 1\n[m]\n[a]\nz.y = 2\nz.b = 3").unwrap();

        let names: Vec<&str> = parsed.iter().map(|(name, _)| name.as_str()).collect();

        assert_eq!(names, ["z", "m", "a"]);
        assert_eq!(
            parsed[2].1,
            Value::Table(vec![(
                "z".into(),
                Value::Table(vec![
                    ("y".into(), Value::Integer(2)),
                    ("b".into(), Value::Integer(3))
                ])
            )])
        );
    }

    #[test]
    fn values_keep_their_kind() {
        let parsed = parse("a = 0x10\nb = 1_000\nc = 0.5\nd = true\ne = 99999999999999999999\nf = 2026-01-01\ng = ['x']").unwrap();

        let values: Vec<Value> = parsed.into_iter().map(|(_, value)| value).collect();

        assert_eq!(
            values,
            [
                Value::Integer(16),
                Value::Integer(1000),
                Value::Float(0.5),
                Value::Bool(true),
                Value::Unfit("a number too large"),
                Value::Date("2026-01-01".into()),
                Value::List(vec![Value::Text("x".into())]),
            ]
        );
    }

    #[test]
    fn a_syntax_error_is_told_by_its_place_and_shows_no_secret() {
        let problem = parse("listen = \"x\"\napi_key = \"sk-secret\nmore = 1").unwrap_err();

        assert!(problem.key.starts_with("line 2, column"), "{problem}");
        assert!(!problem.to_string().contains("sk-secret"), "{problem}");
    }
}
