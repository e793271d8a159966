//! Search calls that a client never saw, until it comes back.
//!
//! A turn may call the client's own tools and the search. The client gets its own calls; the search calls, and the turns before them that only
//! searched, are kept here and put back where they belong when the client returns with its tools' results. When they are gone, the
//! conversation still works without them.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::calls::{self, Call};
use crate::{
    access::Scope,
    openai::{Json, Message, Object},
    rag::{
        citations,
        passages::{Selection, Source, Style},
    },
};

/// How long a turn is kept for a client that runs its tools.
const TTL: Duration = Duration::from_secs(3600);

/// What all kept turns may take, in bytes (their texts).
const SIZE_LIMIT: u64 = 64 << 20;

/// One turn that searched, with the answers to its hidden calls.
#[derive(Debug, Clone)]
pub(super) struct KeptTurn {
    /// Its text as the upstream sent it.
    pub(super) content: Option<String>,
    /// All its calls, the client's included, in the model's order.
    pub(super) calls: Vec<Call>,
    /// What the hidden ones were answered.
    pub(super) results: Vec<(String, Body)>,
}

/// What a hidden call was answered.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// A sentence of the gateway's.
    Text(String),
    /// Passages by their numbers: those that it brought, and those that the model had already.
    Passages {
        fresh: Vec<usize>,
        again: Vec<usize>,
    },
}

/// What is kept for one answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    pub(super) turns: Vec<KeptTurn>,
    pub(super) sources: Vec<Source>,
    pub(super) queries: Vec<String>,
}

/// The kept turns of this process.
#[derive(Debug, Clone)]
pub struct KeptTurns {
    turns: Cache<[u8; 32], Arc<Kept>>,
}

impl Default for KeptTurns {
    fn default() -> Self {
        let size = |_: &[u8; 32], kept: &Arc<Kept>| u32::try_from(kept.size()).unwrap_or(u32::MAX);
        Self {
            turns: Cache::builder()
                .weigher(size)
                .max_capacity(SIZE_LIMIT)
                .time_to_live(TTL)
                .build(),
        }
    }
}

impl Kept {
    fn size(&self) -> usize {
        let texts = |turn: &KeptTurn| {
            let calls: usize = turn
                .calls
                .iter()
                .map(|call| call.arguments.len() + 200)
                .sum();
            turn.content.as_ref().map_or(0, String::len) + calls
        };
        1000 + self.turns.iter().map(texts).sum::<usize>()
            + self
                .sources
                .iter()
                .map(|source| 2 * source.passage.content.len() + 500)
                .sum::<usize>()
    }
}

/// Reads a conversation from its beginning: ids of calls repeat between conversations, so a turn is known by all that came before it.
#[derive(Clone)]
pub(super) struct Trail(Sha256);

impl Trail {
    /// The beginning of a conversation of `tenant` within `scope`: two tenants with the same words and ids never meet.
    pub(super) fn new(tenant: &str, scope: &Scope) -> Self {
        let mut trail = Self(Sha256::new());
        trail.take(tenant);
        match scope {
            Scope::Every => trail.take("every"),
            Scope::Only(ids) => ids.iter().for_each(|id| trail.take(&id.to_string())),
        }
        trail
    }

    /// Goes past one message, by what it means: clients write the same message in other bytes.
    pub(super) fn pass(&mut self, message: &Message) {
        #[derive(Deserialize)]
        struct Answered {
            #[serde(default)]
            tool_call_id: Option<String>,
        }
        self.take(&message.role);
        self.take(&message.text());
        if let Ok(Answered {
            tool_call_id: Some(id),
        }) = message.json.read()
        {
            self.take(&id);
        }
        for call in Object::parse(&message.json)
            .map(|object| calls::of_message(&object))
            .unwrap_or_default()
        {
            self.take_call(&call);
        }
    }

    /// The key of the turn that stands here and shows the client `visible`.
    pub(super) fn key(&self, visible: &[Call]) -> [u8; 32] {
        let mut here = self.clone();
        visible.iter().for_each(|call| here.take_call(call));
        here.0.finalize().into()
    }

    fn take_call(&mut self, call: &Call) {
        self.take(&call.id);
        self.take(&call.name);
        self.take(&call.arguments);
    }

    fn take(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }
}

impl KeptTurns {
    pub(super) fn keep(&self, key: [u8; 32], kept: Kept) {
        self.turns.insert(key, Arc::new(kept));
    }

    /// Puts the kept turns of a conversation back where they belong; returns the messages, and what was found for them.
    pub(super) fn put_back(
        &self,
        tenant: &str,
        scope: &Scope,
        style: Style,
        messages: Vec<Message>,
    ) -> (Vec<Message>, Kept) {
        let mut trail = Trail::new(tenant, scope);
        let mut restored = Kept::default();
        let mut all = Vec::with_capacity(messages.len());
        for message in messages {
            let visible = match message.role.as_str() {
                "assistant" => Object::parse(&message.json)
                    .map(|object| calls::of_message(&object))
                    .unwrap_or_default(),
                _ => Vec::new(),
            };
            let kept = if visible.is_empty() {
                None
            } else {
                self.turns.get(&trail.key(&visible))
            };
            trail.pass(&message);
            let Some(kept) = kept else {
                let mut message = message;
                // Numbers of other answers meant other passages; those of kept turns keep their meaning.
                if style == Style::Numbered && message.role == "assistant" {
                    message.change_text(citations::without_markers);
                }
                all.push(message);
                continue;
            };
            // The scope may have become narrower since: what it no longer holds is not shown again.
            for source in kept.sources.iter().filter(|source| {
                scope.holds(
                    source
                        .passage
                        .workspace
                        .as_ref()
                        .map(|workspace| workspace.id),
                )
            }) {
                if !restored
                    .sources
                    .iter()
                    .any(|known| known.index == source.index)
                {
                    restored.sources.push(source.clone());
                }
            }
            restored.queries.extend(
                kept.queries
                    .iter()
                    .filter(|query| !restored.queries.contains(query))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            for turn in &kept.turns {
                all.extend(turn.messages(&restored.sources, style));
            }
        }
        restored.sources.sort_by_key(|source| source.index);
        (all, restored)
    }
}

impl KeptTurn {
    /// The turn as the model knows it: its own message, then the answers to its hidden calls.
    pub(super) fn messages(&self, sources: &[Source], style: Style) -> Vec<Message> {
        let own = calls::message(self.content.as_deref(), &self.calls);
        let answers = self.results.iter().map(|(id, body)| {
            Json::of(&serde_json::json!({"role": "tool", "tool_call_id": id, "content": body.text(sources, style)}))
        });
        std::iter::once(own)
            .chain(answers)
            .filter_map(Message::read)
            .collect()
    }
}

impl Body {
    /// The answer as the model reads it: the guides' format; passages it had already are named, not repeated.
    pub(super) fn text(&self, sources: &[Source], style: Style) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Passages { fresh, again } => {
                let find = |index: &usize| sources.iter().find(|source| source.index == *index);
                let blocks = fresh
                    .iter()
                    .filter_map(find)
                    .map(|source| source.block(style));
                let named = again
                    .iter()
                    .filter_map(find)
                    .map(|source| format!("{} (given above)", source.head(style)));
                let all: Vec<String> = blocks.chain(named).collect();
                if all.is_empty() {
                    crate::rag::prompt::NO_RESULTS.to_owned()
                } else {
                    all.join("\n\n")
                }
            }
        }
    }
}

impl Kept {
    /// A selection that goes on from what was found before.
    pub(super) fn selection(&self) -> Selection {
        Selection::continued(self.sources.clone())
    }
}
