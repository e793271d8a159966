//! What is known of the answers of a stream while they are relayed: who spoke, who ended, and how.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::frame::{Added, Adds};
use crate::openai::{chunk::Choice, escape};

/// The answers that began, each under its index.
#[derive(Debug, Default)]
pub(super) struct Speakers(Vec<Speaker>);

#[derive(Debug, Default)]
struct Speaker {
    index: u32,
    /// Its text so far; kept only for citations.
    text: String,
    spoke: bool,
    /// Whether it called a tool.
    called: bool,
    finished: bool,
}

/// A choice that ended with a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// Where in the chunk's `choices` it stands.
    pub(super) position: usize,
    /// Its index.
    pub(super) index: u32,
    /// Whether it used up its tokens without a word.
    pub(super) ran_out: bool,
}

impl Speakers {
    /// Whether every answer that began has its finish.
    pub(super) fn all_finished(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|speaker| speaker.finished)
    }

    /// Whether one of them has its finish.
    pub(super) fn any_finished(&self) -> bool {
        self.0.iter().any(|speaker| speaker.finished)
    }

    /// Whether one of them called a tool.
    pub(super) fn any_called(&self) -> bool {
        self.0.iter().any(|speaker| speaker.called)
    }

    /// The text of the answer with this index, as far as it is kept.
    pub(super) fn text(&self, index: u32) -> &str {
        let mut speakers = self.0.iter();
        let speaker = speakers.find(|speaker| speaker.index == index);
        speaker.map_or("", |speaker| &speaker.text)
    }

    /// Notes what a chunk says that adds text and nothing else.
    pub(super) fn add(&mut self, added: Added<'_>, is_cited: bool) {
        let mut speakers = self.0.iter_mut();
        let speaker = speakers.find(|speaker| speaker.index == added.index);
        let (Some(speaker), Adds::Answer) = (speaker, added.adds) else {
            return;
        };
        speaker.spoke |= !added.text.is_empty();
        if is_cited {
            speaker.text.push_str(&escape::read(added.text));
        }
    }

    /// Notes what the choices of a chunk say; returns those that ended with it.
    pub(super) fn watch(&mut self, choices: &[Choice<'_>], is_cited: bool) -> Vec<Ended> {
        let mut ended = Vec::new();
        for (position, choice) in choices.iter().enumerate() {
            let index = choice.index.unwrap_or(0);
            let Some(speaker) = self.at(index) else {
                continue;
            };
            speaker.hear(choice, is_cited);
            // Some servers write an empty reason into every chunk.
            let reason = choice.finish_reason.as_ref();
            if let Some(reason) = reason.filter(|reason| !reason.is_empty())
                && !speaker.finished
            {
                speaker.finished = true;
                ended.push(Ended {
                    position,
                    index,
                    ran_out: reason == "length" && !speaker.spoke,
                });
            }
        }
        ended
    }

    fn at(&mut self, index: u32) -> Option<&mut Speaker> {
        let known = self.0.iter().position(|speaker| speaker.index == index);
        let at = known.unwrap_or_else(|| {
            self.0.push(Speaker {
                index,
                ..Speaker::default()
            });
            self.0.len() - 1
        });
        self.0.get_mut(at)
    }
}

impl Speaker {
    fn hear(&mut self, choice: &Choice<'_>, is_cited: bool) {
        if let Some(delta) = &choice.delta {
            self.called |= delta.calls_tools();
            self.spoke |= self.called;
            if is_cited || !self.spoke {
                let text = delta.text();
                self.spoke |= !text.is_empty();
                if is_cited {
                    self.text.push_str(&text);
                }
            }
        }
        self.spoke |= choice.text.as_ref().is_some_and(|text| !text.is_empty());
    }
}

/// Whether an event can hold a finish, a failure or a count of tokens.
pub(super) fn may_matter(data: &[u8]) -> bool {
    /// Made once: to make one costs more than to look through an event.
    static KEYS: LazyLock<[Finder<'_>; 3]> =
        LazyLock::new(|| ["\"error\"", "\"finish_reason\"", "\"usage\""].map(Finder::new));
    let [error, finish, usage] = &*KEYS;
    error.find(data).is_some() || says(data, finish) || says(data, usage)
}

/// Whether `key`, quotes included, may stand before something other than `null`.
fn says(data: &[u8], key: &Finder<'_>) -> bool {
    key.find_iter(data).any(|at| {
        let rest = data.get(at + key.needle().len()..).unwrap_or_default();
        let value = rest
            .iter()
            .position(|byte| !matches!(byte, b' ' | b':' | b'\t'))
            .and_then(|start| rest.get(start..));
        !value.is_some_and(|value| value.starts_with(b"null"))
    })
}
