//! Usage summed over the turns of one request.

use serde_json::Value;

/// Adds `turn` to `sum`: numbers by their name, details included; of anything else the last stands.
pub(super) fn add(sum: &mut Option<Value>, turn: Option<Value>) {
    let Some(turn) = turn.filter(Value::is_object) else {
        return;
    };
    match sum {
        Some(sum) => merge(sum, turn),
        None => *sum = Some(turn),
    }
}

fn merge(sum: &mut Value, turn: Value) {
    match (sum, turn) {
        (Value::Object(sum), Value::Object(turn)) => {
            for (key, value) in turn {
                match sum.get_mut(&key) {
                    Some(known) => merge(known, value),
                    None => {
                        sum.insert(key, value);
                    }
                }
            }
        }
        (known @ Value::Number(_), Value::Number(more)) => {
            *known = match (known.as_u64(), more.as_u64()) {
                (Some(a), Some(b)) => Value::from(a.saturating_add(b)),
                _ => Value::from(known.as_f64().unwrap_or(0.0) + more.as_f64().unwrap_or(0.0)),
            };
        }
        (_, Value::Null) => {}
        (known, other) => *known = other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_summed_with_their_details() {
        let mut sum = None;
        add(
            &mut sum,
            Some(
                json!({"prompt_tokens": 10, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 4}, "cost": 0.5}),
            ),
        );
        add(
            &mut sum,
            Some(
                json!({"prompt_tokens": 20, "total_tokens": 25, "prompt_tokens_details": {"cached_tokens": 8}, "completion_tokens": 5, "cost": 0.25}),
            ),
        );
        add(&mut sum, None);
        assert_eq!(
            sum.unwrap(),
            json!({"prompt_tokens": 30, "total_tokens": 37, "prompt_tokens_details": {"cached_tokens": 12}, "cost": 0.75, "completion_tokens": 5})
        );
    }
}
