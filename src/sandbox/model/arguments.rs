//! Arguments for tools that the models know nothing of, made from their schemas.

use serde_json::{Map, Value, json};

use super::conversation::Tool;

/// The least arguments that the schema of `tool` asks for; texts are `query`.
pub(super) fn least(tool: &Tool, query: &str) -> Value {
    let properties = tool.parameters.get("properties").and_then(Value::as_object);
    let required = tool.parameters.get("required").and_then(Value::as_array);
    let names = required.into_iter().flatten().filter_map(Value::as_str);
    let arguments: Map<String, Value> = names
        .map(|name| {
            let schema = properties
                .and_then(|properties| properties.get(name))
                .unwrap_or(&Value::Null);
            (name.to_owned(), sample(schema, query))
        })
        .collect();
    Value::Object(arguments)
}

/// A value that fits `schema` as far as its type says.
fn sample(schema: &Value, query: &str) -> Value {
    let given = schema
        .get("default")
        .or_else(|| schema.get("const"))
        .or_else(|| schema.get("enum").and_then(|values| values.get(0)));
    if let Some(given) = given {
        return given.clone();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        Some("null") => Value::Null,
        _ => json!(query),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_required_property_gets_a_value_of_its_type_and_no_other_comes_along() {
        let parameters = json!({
            "properties": {
                "text": {"type": "string"}, "untyped": {}, "count": {"type": "integer", "minimum": 3}, "flag": {"type": "boolean"},
                "list": {"type": "array"}, "object": {"type": "object"}, "unit": {"enum": ["c", "f"]}, "size": {"type": "number", "default": 0.5},
                "optional": {"type": "string"},
            },
            "required": ["text", "untyped", "count", "flag", "list", "object", "unit", "size", "unknown"],
        });
        let tool = Tool {
            name: "t".into(),
            description: String::new(),
            parameters,
        };

        let expected = json!({
            "text": "q", "untyped": "q", "count": 3, "flag": true, "list": [], "object": {}, "unit": "c", "size": 0.5, "unknown": "q",
        });
        assert_eq!(least(&tool, "q"), expected);
        assert_eq!(
            least(
                &Tool {
                    parameters: Value::Null,
                    ..tool
                },
                "q"
            ),
            json!({})
        );
    }
}
