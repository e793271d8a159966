//! Search calls that a client never saw, until it comes back.
//!
//! A turn may call the client's own tools and the search. The client gets its own calls; the search calls, and the turns before them that only
//! searched, are kept here and put back where they belong when the client returns with its tools' results. When they are gone, the
//! conversation still works without them.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;

use super::{
    calls::{self, Call},
    trail::{Key, Trail},
};
use crate::{
    access::Scope,
    openai::{Json, Message, Object},
    rag::{
        citations,
        passages::{Selection, Source, Style},
        prompt,
    },
};

/// How long a turn is kept for a client that runs its tools.
const TTL: Duration = Duration::from_secs(3600);

/// What all kept turns may take, in bytes (their texts).
const SIZE_LIMIT: u64 = 64 << 20;

/// What names the passages that an earlier search of the conversation brought already.
const GIVEN: &str = "Already given above:";

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
    turns: Cache<Key, Arc<Kept>>,
}

impl Default for KeptTurns {
    fn default() -> Self {
        let size = |_: &Key, kept: &Arc<Kept>| u32::try_from(kept.size()).unwrap_or(u32::MAX);
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

impl KeptTurns {
    pub(super) fn keep(&self, key: Key, kept: Kept) {
        self.turns.insert(key, Arc::new(kept));
    }

    /// Puts the kept turns of a conversation back where they belong; returns the messages, and what was found for them.
    pub(super) fn put_back(
        &self,
        mut trail: Trail,
        scope: &Scope,
        style: Style,
        messages: Vec<Message>,
    ) -> (Vec<Message>, Kept) {
        let mut restored = Kept::default();
        let mut all = Vec::with_capacity(messages.len());
        for mut message in messages {
            let kept = self.find(&trail, &message);
            trail.pass(&message);
            match kept.filter(|kept| restored.takes(kept, scope)) {
                Some(kept) => {
                    for turn in &kept.turns {
                        all.extend(turn.messages(&restored.sources, style));
                    }
                }
                None => {
                    // Numbers of other answers meant other passages; those of kept turns keep their meaning.
                    if style == Style::Numbered && message.role == "assistant" {
                        message.change_text(citations::without_markers);
                    }
                    all.push(message);
                }
            }
        }
        restored.sources.sort_by_key(|source| source.index);
        (all, restored)
    }

    fn find(&self, trail: &Trail, message: &Message) -> Option<Arc<Kept>> {
        if message.role != "assistant" {
            return None;
        }
        let visible = calls::of_message(&Object::parse(&message.json)?);
        if visible.is_empty() {
            return None;
        }
        self.turns.get(&trail.key(&visible))
    }
}

impl KeptTurn {
    /// A turn whose hidden calls are not answered yet.
    pub(super) fn new(content: Option<String>, calls: Vec<Call>) -> Self {
        Self {
            content,
            calls,
            results: Vec::new(),
        }
    }

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
                let mut all: Vec<String> = fresh
                    .iter()
                    .filter_map(find)
                    .map(|source| source.block(style))
                    .collect();
                let named: Vec<String> = again
                    .iter()
                    .filter_map(find)
                    .map(|source| match style {
                        Style::Numbered => format!("[{}]", source.index),
                        Style::Plain => source.head(style),
                    })
                    .collect();
                if !named.is_empty() {
                    all.push(format!("{GIVEN} {}.", named.join(", ")));
                }
                if all.is_empty() {
                    prompt::NO_RESULTS.to_owned()
                } else {
                    all.join("\n\n")
                }
            }
        }
    }
}

impl Kept {
    /// Takes over what was kept, unless its numbers are taken by other passages: then it is as good as gone.
    fn takes(&mut self, kept: &Kept, scope: &Scope) -> bool {
        let known = |source: &Source| {
            self.sources
                .iter()
                .find(|known| known.index == source.index)
        };
        let clashes = kept.sources.iter().any(|source| {
            known(source).is_some_and(|known| known.passage.chunk_id != source.passage.chunk_id)
        });
        if clashes {
            return false;
        }
        // The scope may have become narrower since: what it no longer holds is not shown again.
        let within = |source: &&Source| {
            let workspace = source.passage.workspace.as_ref();
            scope.holds(workspace.map(|workspace| workspace.id))
        };
        let fresh: Vec<Source> = kept
            .sources
            .iter()
            .filter(|source| known(source).is_none())
            .filter(within)
            .cloned()
            .collect();
        self.sources.extend(fresh);
        for query in &kept.queries {
            if !self.queries.contains(query) {
                self.queries.push(query.clone());
            }
        }
        true
    }

    /// A selection that goes on from what was found before.
    pub(super) fn selection(&self) -> Selection {
        Selection::continued(self.sources.clone())
    }
}
