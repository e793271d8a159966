//! Where a tool call that leaked into text begins, and where it ends.
//!
//! A marker alone is no call: people ask about tool calls, and models explain them. What follows a marker decides within a few characters
//! whether it can begin a call; only then is the text held until the call ends.

/// The longest name of a tool, in bytes (OpenAI allows 64; Kimi adds `functions.` and a number).
const NAME_LIMIT: usize = 128;

/// What a text says of the call at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// There is none.
    None,
    /// More text decides.
    Undecided,
    /// There is one of this many bytes.
    Call(usize),
}

/// How one family of models writes calls.
struct Form {
    /// What its calls begin with.
    marker: &'static str,
    /// What may follow that, blanks aside.
    heads: &'static [Head],
    /// What ends the call.
    end: End,
    /// What may stand behind the end and belongs to it.
    closers: &'static [&'static str],
}

enum Head {
    /// These characters, blanks left out.
    Text(&'static str),
    /// A name, and then one of these, blanks left out.
    Name(&'static [&'static str]),
}

#[derive(Clone, Copy)]
enum End {
    Tag(&'static str),
    /// The end of the JSON value behind the head.
    Json,
    /// The tag where the call is written in tags, else the end of the JSON value.
    Either(&'static str),
}

const JSON_HEADS: [&str; 2] = ["{\"", "[{\""];

/// Hermes, Qwen and GLM; Kimi; Mistral; Qwen Coder; MiniMax.
const FORMS: [Form; 6] = [
    Form {
        marker: "<tool_call>",
        heads: &[
            Head::Text("{\""),
            Head::Text("<function="),
            Head::Name(&["<arg_key>", "</tool_call>"]),
        ],
        end: End::Either("</tool_call>"),
        closers: &["</tool_call>"],
    },
    Form {
        marker: "<|tool_calls_section_begin|>",
        heads: &[Head::Text("<|tool_call_begin|>")],
        end: End::Tag("<|tool_calls_section_end|>"),
        closers: &[],
    },
    Form {
        marker: "<|tool_call_begin|>",
        heads: &[Head::Name(&["<|tool_call_argument_begin|>"])],
        end: End::Tag("<|tool_call_end|>"),
        closers: &["<|tool_calls_section_end|>"],
    },
    Form {
        marker: "[TOOL_CALLS]",
        heads: &[
            Head::Text("{\""),
            Head::Text("[{\""),
            Head::Name(&["[ARGS]", "[CALL_ID]", "{\"", "{}"]),
        ],
        end: End::Json,
        closers: &[],
    },
    Form {
        marker: "<function=",
        heads: &[Head::Name(&["><parameter=", "></function>"])],
        end: End::Tag("</function>"),
        closers: &["</tool_call>"],
    },
    Form {
        marker: "<minimax:tool_call>",
        heads: &[Head::Text("<invokename=\"")],
        end: End::Tag("</minimax:tool_call>"),
        closers: &[],
    },
];

/// Where the first marker in `text` begins.
pub(super) fn first_marker(text: &str) -> Option<usize> {
    FORMS.iter().filter_map(|form| text.find(form.marker)).min()
}

/// How long the marker at the beginning of `text` is.
pub(super) fn marker_length(text: &str) -> usize {
    form_at(text).map_or(0, |form| form.marker.len())
}

/// How many bytes at the end of `text` may be the beginning of a marker.
pub(super) fn half_a_marker(text: &str) -> usize {
    let may_begin = |length: usize| {
        text.get(text.len() - length..).is_some_and(|tail| {
            FORMS
                .iter()
                .any(|form| form.marker.len() > length && form.marker.starts_with(tail))
        })
    };
    let longest = FORMS.iter().map(|form| form.marker.len()).max();
    (1..=longest.unwrap_or(0).min(text.len()))
        .rev()
        .find(|length| may_begin(*length))
        .unwrap_or(0)
}

/// How far the end of a call was looked for: arguments come in small pieces, and none of them is read twice.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Search {
    /// In bytes behind the marker; 0 where nothing was read yet.
    read: usize,
    depth: usize,
    is_quoted: bool,
    is_escaped: bool,
    /// Where the call ends, found while it is not yet known what stands behind it.
    end: Option<usize>,
}

/// Whether `text` begins with a marker.
pub(super) fn is_marked(text: &str) -> bool {
    form_at(text).is_some()
}

/// The extent of the call at the beginning of `text`, which begins with a marker and was searched as far as `search` says.
pub(super) fn of_markup(text: &str, search: &mut Search) -> Extent {
    let Some(form) = form_at(text) else {
        return Extent::None;
    };
    let inner = text.get(form.marker.len()..).unwrap_or_default();
    let fits: Vec<Fit> = form.heads.iter().map(|head| head.fit(inner)).collect();
    if !fits.contains(&Fit::Yes) {
        let open = fits.contains(&Fit::Maybe);
        return if open {
            Extent::Undecided
        } else {
            Extent::None
        };
    }
    match form.end(inner, search) {
        Some(end) => closed(text, form.marker.len() + end, form.closers),
        None => Extent::Undecided,
    }
}

/// The extent of the JSON value at the beginning of `text`, which was searched as far as `search` says.
pub(super) fn of_json(text: &str, search: &mut Search) -> Extent {
    search
        .json_end(text)
        .map_or(Extent::Undecided, Extent::Call)
}

fn form_at(text: &str) -> Option<&'static Form> {
    FORMS.iter().find(|form| text.starts_with(form.marker))
}

impl Form {
    fn end(&self, inner: &str, search: &mut Search) -> Option<usize> {
        let is_json = || {
            JSON_HEADS
                .iter()
                .any(|head| begins(inner, head) == Fit::Yes)
        };
        search.end = search.end.or_else(|| match self.end {
            End::Tag(tag) => search.tag_end(inner, tag),
            End::Either(tag) if !is_json() => search.tag_end(inner, tag),
            End::Json | End::Either(_) => search.json_end(inner),
        });
        search.end
    }
}

impl Search {
    fn tag_end(&mut self, inner: &str, tag: &str) -> Option<usize> {
        let from = floor(inner, self.read.saturating_sub(tag.len()));
        let found = inner.get(from..)?.find(tag);
        self.read = inner.len();
        found.map(|at| from + at + tag.len())
    }

    /// Where the first JSON object in `inner` ends, or the list that holds it, by the brackets alone: what is wrong inside is the reader's
    /// business.
    fn json_end(&mut self, inner: &str) -> Option<usize> {
        if self.depth == 0 && self.read == 0 {
            let is_list = begins(inner, JSON_HEADS[1]) == Fit::Yes;
            self.read = inner.find(if is_list { '[' } else { '{' })?;
        }
        for byte in inner.bytes().skip(self.read) {
            self.read += 1;
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.is_quoted => self.is_escaped = true,
                b'"' => self.is_quoted = !self.is_quoted,
                _ if self.is_quoted => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth == 0 {
                return Some(self.read);
            }
        }
        None
    }
}

/// Adds the closers behind the end of a call to it.
fn closed(text: &str, end: usize, closers: &[&str]) -> Extent {
    let behind = text.get(end..).unwrap_or_default();
    let next = behind.trim_start();
    for closer in closers {
        if next.starts_with(closer) {
            return Extent::Call(end + (behind.len() - next.len()) + closer.len());
        }
        if closer.starts_with(next) {
            return Extent::Undecided;
        }
    }
    Extent::Call(end)
}

/// Whether a text begins as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    /// It is too short to tell.
    Maybe,
    No,
}

impl Head {
    fn fit(&self, text: &str) -> Fit {
        match self {
            Self::Text(head) => begins(text, head),
            Self::Name(followers) => {
                let text = text.trim_start();
                let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
                let rest = text.trim_start_matches(is_name);
                let length = text.len() - rest.len();
                if length > NAME_LIMIT || (length == 0 && !text.is_empty()) {
                    return Fit::No;
                }
                let fits = followers.iter().map(|follower| begins(rest, follower));
                fits.min_by_key(|fit| *fit as u8).unwrap_or(Fit::No)
            }
        }
    }
}

/// Whether `text` without its blanks begins with `head`.
pub(super) fn begins(text: &str, head: &str) -> Fit {
    let mut said = text.chars().filter(|c| !c.is_whitespace());
    for expected in head.chars() {
        match said.next() {
            None => return Fit::Maybe,
            Some(c) if c != expected => return Fit::No,
            Some(_) => {}
        }
    }
    Fit::Yes
}

/// The largest boundary of characters that is not beyond `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}
