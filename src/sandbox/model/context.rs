//! The passages that a prompt or a tool result brings, read out of its text.
//!
//! A passage starts with a line of its own, `[filename, p.3]` or `[filename]`, with its number before it where the prompt numbers them
//! (`[1] [filename, p.3]`). In a prompt the passages follow a line `Context:`.

/// What stands for the passages when a search found none.
const NOTHING_FOUND: &str = "No results found.";

/// How a last line begins that names passages which an earlier search of the conversation brought already: it is no content.
const ALREADY_GIVEN: &str = "Already given above:";

/// A piece of a document as the prompt shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passage {
    /// Its number, where the prompt numbers passages.
    pub(super) number: Option<u32>,
    /// The file and page in its head; empty for text without one.
    pub(super) label: String,
    /// Its text.
    pub(super) text: String,
}

/// A prompt's text taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prompt<'a> {
    /// What stands before the context.
    pub(super) instructions: &'a str,
    /// The context; empty when the search found nothing.
    pub(super) context: &'a str,
}

/// Takes a prompt apart at its context; `None` when it has none.
pub(super) fn find(text: &str) -> Option<Prompt<'_>> {
    let mut marked = None;
    let mut headed = None;
    for (start, line) in lines(text) {
        let after = start + line.len();
        if let Some(inline) = line.trim_start().strip_prefix("Context:") {
            let context = text.get(after - inline.len()..).unwrap_or_default();
            // A conversation may say `Context:` of its own; the one that passages follow is meant.
            if starts_with_passages(context) {
                return Some(Prompt {
                    instructions: text.get(..start).unwrap_or_default(),
                    context,
                });
            }
            marked.get_or_insert((start, context));
        } else if head(line).is_some_and(|head| head.is_sure()) {
            headed.get_or_insert((start, text.get(start..).unwrap_or_default()));
        }
    }
    let (start, context) = headed.or(marked)?;
    Some(Prompt {
        instructions: text.get(..start).unwrap_or_default(),
        context,
    })
}

/// Cuts a prompt whose last paragraph is the question: what stands before it, and the question.
pub(super) fn cut_question(text: &str) -> (&str, &str) {
    let text = text.trim_end();
    let Some(at) = text.rfind("\n\n") else {
        return (text, "");
    };
    let (before, question) = text.split_at(at);
    let question = question.trim();
    if question
        .lines()
        .next()
        .is_some_and(|line| head(line).is_some())
    {
        (text, "")
    } else {
        (before, question)
    }
}

/// Cuts off a last paragraph that asks to cite: what stands before it, and the paragraph.
pub(super) fn cut_request(context: &str) -> (&str, &str) {
    let (before, last) = cut_question(context);
    let asks = last.contains("[1]") && last.to_lowercase().contains("cite") && !last.contains('\n');
    if asks { (before, last) } else { (context, "") }
}

/// The passages of `context`; text before the first head, or without any, is a passage with no label.
pub(super) fn passages(context: &str) -> Vec<Passage> {
    let mut passages: Vec<Passage> = Vec::new();
    let mut numbered = None;
    let mut open = Passage {
        number: None,
        label: String::new(),
        text: String::new(),
    };
    let mut after_blank = true;
    for line in without_given(context).lines() {
        let starts = head(line).filter(|head| {
            after_blank && numbered.is_none_or(|numbered| numbered == head.number.is_some())
        });
        if let Some(head) = starts {
            numbered = Some(head.number.is_some());
            let next = Passage {
                number: head.number,
                label: head.label.to_owned(),
                text: String::new(),
            };
            passages.push(std::mem::replace(&mut open, next));
        } else {
            open.text.push_str(line);
            open.text.push('\n');
        }
        after_blank = line.trim().is_empty();
    }
    passages.push(open);
    passages.retain(|passage| !matches!(passage.text.trim(), "" | NOTHING_FOUND));
    passages
}

fn without_given(context: &str) -> &str {
    let trimmed = context.trim_end();
    let start = trimmed.rfind('\n').map_or(0, |at| at + 1);
    let (before, last) = trimmed.split_at(start);
    if last.starts_with(ALREADY_GIVEN) {
        before
    } else {
        context
    }
}

/// Whether `text` asks to have the numbers of passages cited.
pub(super) fn asks_for_numbers(text: &str) -> bool {
    text.contains("[1]") || text.to_lowercase().contains("cite")
}

/// The line that a passage starts with.
struct Head<'a> {
    number: Option<u32>,
    label: &'a str,
}

impl Head<'_> {
    /// Whether nothing but a head looks like this: a bare `[word]` may also be a note in somebody's text.
    fn is_sure(&self) -> bool {
        self.number.is_some() || self.label.contains(", p.")
    }
}

fn head(line: &str) -> Option<Head<'_>> {
    let line = line.trim();
    if let Some((number, rest)) = line
        .strip_prefix('[')
        .and_then(|line| line.split_once("] ["))
        && (1..=3).contains(&number.len())
        && let Ok(number) = number.parse()
    {
        let label = rest.strip_suffix(']')?;
        return Some(Head {
            number: Some(number),
            label,
        });
    }
    let label = line.strip_prefix('[')?.strip_suffix(']')?;
    let named = !label.is_empty() && !label.chars().all(|c| c.is_ascii_digit());
    named.then_some(Head {
        number: None,
        label,
    })
}

fn starts_with_passages(context: &str) -> bool {
    let first = context.trim_start().lines().next().unwrap_or_default();
    first.trim() == NOTHING_FOUND || head(first).is_some()
}

/// The lines of `text` with where they start, in bytes, without their ends.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    text.split_inclusive('\n').map(move |line| {
        let at = start;
        start += line.len();
        (at, line.trim_end_matches(['\n', '\r']))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROMPT: &str = "Be kind.\n\nContext:\nmine\n\nUse the context.\n\nContext:\n[1] [a, b.pdf, p.3]\nFirst.\n\nMore of it.\n\n[note]\n\n[2] [c.md]\nSecond.";

    #[test]
    fn passages_are_read_with_number_label_and_whole_text() {
        let prompt = find(PROMPT).expect("there is a context");

        assert_eq!(
            prompt.instructions,
            "Be kind.\n\nContext:\nmine\n\nUse the context.\n\n"
        );
        assert_eq!(
            passages(prompt.context),
            [
                Passage {
                    number: Some(1),
                    label: "a, b.pdf, p.3".into(),
                    text: "First.\n\nMore of it.\n\n[note]\n\n".into()
                },
                Passage {
                    number: Some(2),
                    label: "c.md".into(),
                    text: "Second.\n".into()
                },
            ]
        );
    }

    #[test]
    fn passages_of_the_guides_have_no_numbers() {
        let found = passages("[a.pdf, p.1]\nOne.\n\n[b.pdf, p.None]\nTwo.");

        assert_eq!(
            found
                .iter()
                .map(|passage| (passage.number, passage.label.as_str()))
                .collect::<Vec<_>>(),
            [(None, "a.pdf, p.1"), (None, "b.pdf, p.None")]
        );
    }

    #[test]
    fn a_search_that_found_nothing_is_a_context_without_passages() {
        let prompt =
            find("Use the context.\n\nContext:\nNo results found.").expect("there is a context");

        assert_eq!(passages(prompt.context), []);
    }

    #[test]
    fn a_line_that_names_passages_given_above_is_no_content() {
        let both = passages("[3] [c.md]\nNew.\n\nAlready given above: [1], [2].\n");

        assert_eq!(both.len(), 1);
        assert_eq!(both[0].text.trim(), "New.");
        assert_eq!(passages("Already given above: [a.pdf, p.1]."), []);
    }

    #[test]
    fn a_context_needs_no_heads_and_heads_need_no_marker() {
        let plain = find("Context: The sky is blue.").expect("there is a context");
        let headed = find("Answer from these:\n[a.md, p.1]\nText.").expect("there is a context");

        assert_eq!(
            passages(plain.context)
                .first()
                .map(|passage| passage.text.trim()),
            Some("The sky is blue.")
        );
        assert_eq!(headed.instructions, "Answer from these:\n");
        assert_eq!(find("Just talk to me [please]."), None);
        assert_eq!(find("[thinking]\nHello"), None);
    }

    #[test]
    fn the_question_behind_the_passages_is_the_last_paragraph() {
        assert_eq!(
            cut_question("Context:\n[a.md]\nText.\n\nMore.\n\nWhat is it?\n"),
            ("Context:\n[a.md]\nText.\n\nMore.", "What is it?")
        );
        assert_eq!(
            cut_question("Context:\n\n[a.md]\nText."),
            ("Context:\n\n[a.md]\nText.", "")
        );
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "(\\[|\\]|Context:|\n|1|a|, p\\.|\\PC| ){0,60}") {
            let context = find(&text).map_or(text.as_str(), |prompt| prompt.context);
            passages(context);
            cut_question(&text);
        }
    }
}
