//! What later requests are made of: links in answers, and conversations that stopped at a tool of the client's.

use memchr::memmem;
use serde_json::{Value, json};

use crate::{
    asker::Asker,
    asking::{Chat, Kind, Link, Pending, Presented},
    judge::Outcome,
    oracle::Permit,
    world::{Home, World},
};

/// What one configuration brought so far.
#[derive(Default)]
pub(crate) struct Memory {
    /// Texts that were asked.
    pub(crate) questions: Vec<String>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) links: Vec<Link>,
}

impl Memory {
    /// Keeps what a later request can be made of; a link that leads out of the scope is an error.
    pub(crate) fn keep(
        &mut self,
        outcome: &Outcome,
        permit: &Permit,
        rng: &mut fastrand::Rng,
    ) -> Result<(), String> {
        let Kind::Chat(chat) = &outcome.ask.kind else {
            return Ok(());
        };
        for at in memmem::find_iter(&outcome.body, "/sources/") {
            let text = String::from_utf8_lossy(&outcome.body[at..]);
            let path = text.split(['"', '#']).next().unwrap_or_default();
            let file = path.trim_start_matches("/sources/").split('?').next();
            let file = file.and_then(|file| file.parse().ok()).unwrap_or_default();
            if !permit.holds_file(file) || World::home(file) == Home::NoFile {
                return Err(format!("a link opens a file outside the scope: {path}"));
            }
            let link = Link {
                path: path.to_owned(),
                file,
                key: permit.key,
            };
            put(&mut self.links, link, 20, rng);
        }
        if chat.has_tools
            && let Some((turn, calls)) = left_to_the_client(&outcome.body, chat.stream)
        {
            let pending = Pending {
                key: outcome.ask.key,
                chat: chat.clone(),
                turn,
                calls,
            };
            put(&mut self.pending, pending, 10, rng);
        }
        Ok(())
    }
}

/// Adds to what is kept, in place of any other once there are `most`.
pub(crate) fn put<T>(kept: &mut Vec<T>, one: T, most: usize, rng: &mut fastrand::Rng) {
    if kept.len() < most {
        kept.push(one);
    } else {
        kept[rng.usize(..most)] = one;
    }
}

/// The assistant's turn, and its calls, where the answer ends with the client's own.
fn left_to_the_client(body: &[u8], stream: bool) -> Option<(String, Vec<String>)> {
    memmem::find(body, b"get_weather")?;
    let mut calls: Vec<Value> = Vec::new();
    let mut content = String::new();
    let mut take = |message: &Value| {
        content.push_str(message["content"].as_str().unwrap_or_default());
        calls.extend(
            message["tool_calls"]
                .as_array()
                .into_iter()
                .flatten()
                .cloned(),
        );
    };
    if stream {
        for line in String::from_utf8_lossy(body).lines() {
            let chunk = line
                .strip_prefix("data: ")
                .and_then(|data| serde_json::from_str::<Value>(data).ok());
            take(&chunk.unwrap_or_default()["choices"][0]["delta"]);
        }
    } else {
        take(&serde_json::from_slice::<Value>(body).ok()?["choices"][0]["message"]);
    }
    for call in &mut calls {
        call.as_object_mut()?.remove("index");
    }
    let ids: Vec<String> = calls
        .iter()
        .filter_map(|call| call["id"].as_str().map(str::to_owned))
        .collect();
    if ids.is_empty() {
        return None;
    }
    let content = if content.is_empty() {
        Value::Null
    } else {
        Value::String(content)
    };
    Some((
        json!({"role": "assistant", "content": content, "tool_calls": calls}).to_string(),
        ids,
    ))
}

/// A client that comes back with what its tool said: the same, one with another key, one that asks for less or for more.
pub(crate) fn returned(pending: &Pending, asker: &mut Asker<'_>) -> (Presented, Chat) {
    let mut chat = pending.chat.clone();
    let key = match asker.rng.u8(..3) {
        0 => asker.somebody(),
        _ => pending.key,
    };
    let fresh = asker.chat(key, "Thank you.");
    match asker.rng.u8(..8) {
        0 => chat.rag = fresh.rag,
        3 | 4 => {
            // The same within another scope.
            chat.rag.retain(|(name, _)| *name != "workspace_id");
            let said = asker.said_workspaces(key, &chat.model);
            chat.rag.push(("workspace_id", said));
        }
        1 => chat.model = fresh.model,
        2 => chat.headers = fresh.headers,
        _ => {}
    }
    chat.messages.push(pending.turn.clone());
    for id in &pending.calls {
        chat.messages
            .push(json!({"role": "tool", "tool_call_id": id, "content": "Sunny."}).to_string());
    }
    chat.script = fresh.script;
    chat.stream = fresh.stream;
    (key, chat)
}

/// The link as it is, or another one made of it.
pub(crate) fn forge(mut link: Link, rng: &mut fastrand::Rng) -> (Link, bool) {
    let Some((_, query)) = link.path.split_once('?') else {
        return (link, true);
    };
    let query = query.to_owned();
    let other = if link.file == 1001 { 2001 } else { 1001 };
    match rng.u8(..8) {
        0 => {
            link.path = format!("/sources/{other}?{query}");
            link.file = other;
        }
        1 => {
            link.path = format!(
                "/sources/{}?{}",
                link.file,
                query.replace("expires=", "expires=9")
            )
        }
        2 => link.path = format!("/sources/{}?{}", link.file, &query[..query.len() - 2]),
        3 => link.path = format!("/sources/0{}?{query}", link.file),
        4 => link.path = format!("/sources/{other}%3F?{query}"),
        _ => return (link, false),
    }
    (link, true)
}
