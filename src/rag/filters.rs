//! OpenAI's filters on files, as far as LightOn's search can express them.
//!
//! LightOn takes values of facets (`name:value`, `name:>5`, `name:a|b`), all of which must fit, and beside them files, tags and content types,
//! any of which must. So a conjunction of comparisons passes, a disjunction only over values of one key, and a negation never. What does
//! not pass is refused: a filter that is dropped in silence widens what a caller sees.

use serde_json::Value;

use crate::openai::{
    chat::Invalid,
    vector_stores::{Comparison, Filter},
};

/// What narrows a search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// These files only; empty: all.
    pub file_id: Vec<i64>,
    /// Files with any of these tags; empty: all.
    pub tag_id: Vec<i64>,
    /// Files of any of these content types; empty: all.
    pub content_type: Vec<String>,
    /// Facet values, all of which must fit.
    pub attribute: Vec<String>,
}

/// What `filter` narrows a search to.
pub fn narrowing(filter: &Filter) -> Result<Narrowing, Invalid> {
    let mut narrowing = Narrowing::default();
    narrowing.add(filter)?;
    if !narrowing.file_id.is_empty() && !narrowing.tag_id.is_empty() {
        return Err(inexpressible("`file_id` and `tag_id` exclude each other"));
    }
    Ok(narrowing)
}

impl Narrowing {
    fn add(&mut self, filter: &Filter) -> Result<(), Invalid> {
        match filter {
            Filter::And(parts) => parts.iter().try_for_each(|part| self.add(part)),
            Filter::Or(parts) => {
                let (key, values) = alternatives(parts)?;
                self.one_of(key, &values)
            }
            Filter::Compare {
                key,
                comparison,
                value,
            } => self.compare(key, *comparison, value),
        }
    }

    fn compare(&mut self, key: &str, comparison: Comparison, value: &Value) -> Result<(), Invalid> {
        let sign = match comparison {
            Comparison::Eq => return self.one_of(key, &[value]),
            Comparison::In => {
                let values: Vec<&Value> = value.as_array().into_iter().flatten().collect();
                return self.one_of(key, &values);
            }
            Comparison::Ne | Comparison::Nin => {
                return Err(inexpressible("negations (`ne`, `nin`) do not exist there"));
            }
            Comparison::Gt => ">",
            Comparison::Gte => ">=",
            Comparison::Lt => "<",
            Comparison::Lte => "<=",
        };
        if matches!(key, "file_id" | "tag_id" | "content_type") {
            return Err(inexpressible("files, tags and content types have no order"));
        }
        let (name, text) = (attribute_name(key)?, attribute_value(value)?);
        self.attribute.push(format!("{name}:{sign}{text}"));
        Ok(())
    }

    fn one_of(&mut self, key: &str, values: &[&Value]) -> Result<(), Invalid> {
        match key {
            "file_id" => any_of(&mut self.file_id, values, number),
            "tag_id" => any_of(&mut self.tag_id, values, number),
            "content_type" => any_of(&mut self.content_type, values, |value| {
                value.as_str().map(str::to_owned)
            }),
            _ => {
                let texts: Result<Vec<String>, Invalid> =
                    values.iter().map(|value| attribute_value(value)).collect();
                let (name, texts) = (attribute_name(key)?, texts?);
                self.attribute.push(format!("{name}:{}", texts.join("|")));
                Ok(())
            }
        }
    }
}

/// The one key of a disjunction, and all its values.
fn alternatives(parts: &[Filter]) -> Result<(&str, Vec<&Value>), Invalid> {
    let mut values = Vec::new();
    let mut keys = parts.iter().map(|part| match part {
        Filter::Compare {
            key,
            comparison: Comparison::Eq,
            value,
        } => {
            values.push(value);
            Some(key.as_str())
        }
        Filter::Compare {
            key,
            comparison: Comparison::In,
            value,
        } => {
            values.extend(value.as_array().into_iter().flatten());
            Some(key.as_str())
        }
        Filter::Compare { .. } | Filter::And(_) | Filter::Or(_) => None,
    });
    let first = keys.next().flatten();
    let same = keys.all(|key| key == first);
    match first.filter(|_| same) {
        Some(key) => Ok((key, values)),
        None => Err(inexpressible(
            "`or` holds only over values (`eq`, `in`) of one key",
        )),
    }
}

fn any_of<T>(
    place: &mut Vec<T>,
    values: &[&Value],
    read: impl Fn(&Value) -> Option<T>,
) -> Result<(), Invalid> {
    // Two conditions on what a file has one of, or any of, cannot both be asked.
    if !place.is_empty() {
        return Err(inexpressible(
            "`file_id`, `tag_id` and `content_type` can each be compared once",
        ));
    }
    for value in values {
        place.push(read(value).ok_or_else(|| {
            inexpressible("`file_id` and `tag_id` are whole numbers, `content_type` is a path")
        })?);
    }
    Ok(())
}

/// A whole number, as one or as a text in its one spelling.
fn number(value: &Value) -> Option<i64> {
    let spelt = |text: &str| text.parse().ok().filter(|id: &i64| id.to_string() == text);
    value.as_i64().or_else(|| value.as_str().and_then(spelt))
}

/// A facet's name, with or without its scope (`content_type(legal:compliance).regulation`).
fn attribute_name(key: &str) -> Result<&str, Invalid> {
    let scoped = key
        .strip_prefix("content_type(")
        .and_then(|rest| rest.split_once(")."));
    let name = scoped.map_or(key, |(_, name)| name);
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ' | '.');
    let scope_is_plain = scoped.is_none_or(|(path, _)| path.chars().all(|c| plain(c) || c == ':'));
    if !name.is_empty() && name.chars().all(plain) && scope_is_plain {
        Ok(key)
    } else {
        Err(inexpressible(
            "the name of an attribute consists of letters, digits, `_`, `-`, `.` and blanks",
        ))
    }
}

/// A facet's value as LightOn's grammar writes it. What its signs would make something else of is refused.
fn attribute_value(value: &Value) -> Result<String, Invalid> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let means_more = text.trim().is_empty()
        || text.starts_with(['<', '>'])
        || text.contains(['|', '*'])
        || text.chars().any(char::is_control);
    if means_more {
        return Err(inexpressible(
            "a value is not blank, does not begin with `<` or `>`, and holds no `|` and no `*`",
        ));
    }
    Ok(text)
}

fn inexpressible(why: &str) -> Invalid {
    Invalid::value(
        "filters",
        format!("document search cannot express these `filters`: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::openai::vector_stores::VectorStoreSearch;

    fn narrowed(filters: &Value) -> Result<Narrowing, Invalid> {
        let body = json!({"query": "q", "filters": filters}).to_string();
        narrowing(&VectorStoreSearch::parse(body.into())?.filters.unwrap())
    }

    fn compare(kind: &str, key: &str, value: Value) -> Value {
        json!({"type": kind, "key": key, "value": value})
    }

    #[test]
    fn what_lighton_can_express_passes() {
        for (filters, expected) in [
            (compare("eq", "regulation", json!("AML")), "regulation:AML"),
            (compare("eq", "final", json!(true)), "final:true"),
            (compare("gt", "amount", json!(5)), "amount:>5"),
            (compare("gte", "amount", json!(5.5)), "amount:>=5.5"),
            (compare("lt", "filed", json!("2023-06")), "filed:<2023-06"),
            (compare("lte", "amount", json!(-1)), "amount:<=-1"),
            (compare("in", "region", json!(["EU", "US"])), "region:EU|US"),
            (
                json!({"type": "or", "filters": [compare("eq", "region", json!("EU")), compare("in", "region", json!(["US"]))]}),
                "region:EU|US",
            ),
            (
                compare(
                    "eq",
                    "content_type(legal:compliance).regulation",
                    json!("AML"),
                ),
                "content_type(legal:compliance).regulation:AML",
            ),
        ] {
            assert_eq!(
                narrowed(&filters).unwrap().attribute,
                [expected],
                "{filters}"
            );
        }
    }

    #[test]
    fn a_conjunction_is_all_of_its_parts() {
        let filters = json!({"type": "and", "filters": [
            compare("eq", "a", json!(1)),
            {"type": "and", "filters": [compare("in", "tag_id", json!([7, "8"])), compare("eq", "content_type", json!("legal:*"))]},
        ]});
        let expected = Narrowing {
            tag_id: vec![7, 8],
            content_type: vec!["legal:*".to_owned()],
            attribute: vec!["a:1".to_owned()],
            ..Narrowing::default()
        };
        assert_eq!(narrowed(&filters).unwrap(), expected);
        let files = compare("eq", "file_id", json!("512"));
        assert_eq!(narrowed(&files).unwrap().file_id, [512]);
    }

    #[test]
    fn what_lighton_cannot_express_is_refused_and_not_dropped() {
        for filters in [
            compare("ne", "a", json!(1)),
            compare("nin", "a", json!([1])),
            compare("gt", "tag_id", json!(1)),
            compare("eq", "tag_id", json!("x")),
            compare("eq", "a", json!("x|y")),
            compare("eq", "a", json!(">5")),
            compare("eq", "a", json!("*")),
            compare("eq", "a", json!("")),
            compare("eq", "a:b", json!(1)),
            compare("eq", "content_type(a).", json!(1)),
            json!({"type": "or", "filters": [compare("eq", "a", json!(1)), compare("eq", "b", json!(1))]}),
            json!({"type": "or", "filters": [compare("gt", "a", json!(1)), compare("gt", "a", json!(2))]}),
            json!({"type": "and", "filters": [compare("eq", "tag_id", json!(1)), compare("eq", "tag_id", json!(2))]}),
            json!({"type": "and", "filters": [compare("eq", "tag_id", json!(1)), compare("eq", "file_id", json!(2))]}),
        ] {
            match narrowed(&filters) {
                Err(Invalid::Value { param, .. }) => assert_eq!(param, "filters", "{filters}"),
                other => panic!("{filters}: {other:?}"),
            }
        }
    }
}
