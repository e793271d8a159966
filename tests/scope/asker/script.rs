//! What the model does where it may search: it calls tools, with arguments that name every scope there is.

use serde_json::{Value, json};

use super::Asker;
use crate::{
    model::{Call, Script, Turn},
    tenants::some,
    world::HOMELESS,
};

impl Asker<'_> {
    /// What the model does when it may search: calls with arguments that name every scope there is.
    pub(super) fn script(&mut self, question: &str, has_tools: bool) -> Script {
        let mut turns = Vec::new();
        for turn in 0..self.rng.usize(..3) {
            let mut calls: Vec<Call> = (0..self.rng.usize(1..4))
                .map(|at| self.call(turn, at, question))
                .collect();
            if has_tools && self.rng.bool() {
                calls.push(Call {
                    id: format!("own_{turn}"),
                    name: "get_weather".to_owned(),
                    arguments: "{\"city\":\"Lyon\"}".to_owned(),
                });
            }
            let text = match self.rng.u8(..4) {
                0 => Some("Let me look.".to_owned()),
                1 => Some(String::new()),
                _ => None,
            };
            turns.push(Turn { text, calls });
        }
        Script {
            failures: usize::from(self.rng.u8(..30) == 0),
            turns,
            ..Script::default()
        }
    }

    fn call(&mut self, turn: usize, at: usize, question: &str) -> Call {
        let other = some(self.rng);
        let query = format!("{question} {turn}{at}");
        let arguments = match self.rng.u8(..12) {
            0 => json!({"query": query, "workspace_id": other}),
            1 => json!({"query": query, "workspace_id": "*", "file_id": [1001, 2001]}),
            2 => json!({"query": query, "rag": {"workspace_id": other}, "max_results": 50}),
            3 => json!({"query": {"text": query, "workspace_id": other}}),
            4 => {
                json!({"q": query, "workspaces": other, "scope": "*", "search_api_key": "lo-search-9"})
            }
            5 => json!([query, other]),
            6 => {
                json!({"query": query, "__proto__": {"workspace_id": other}, "tag_id": [7], "attribute": "workspace:*"})
            }
            7 => json!({"queries": [query], "max_results": "100", "file_id": HOMELESS}),
            8 => json!({"query": format!("workspace_id:{} {query}", other[0]), "max_results": 3}),
            _ => json!({"query": query}),
        };
        let arguments = match self.rng.u8(..10) {
            0 => {
                format!("{{\"query\":\"{turn}{at}\",\"workspace_id\":[1],\"workspace_id\":[11,12]")
            }
            1 => Value::String(arguments.to_string()).to_string(),
            _ => arguments.to_string(),
        };
        let name = [
            "lighton_search",
            "lighton_search",
            "lighton_search",
            "search",
            "functions.lighton_search",
            "run_shell",
        ][self.rng.usize(..6)];
        Call {
            id: format!("call_{turn}{at}"),
            name: name.to_owned(),
            arguments,
        }
    }
}
