//! The text of a query as LightOn takes it: trimmed, not blank, at most 4000 characters.

use std::borrow::Cow;

/// The longest query that LightOn takes, in Unicode code points: its own servers count so (Python's `len`).
pub(super) const MAX_CHARS: usize = 4000;

/// A query's text, ready to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text<'a> {
    /// What is sent.
    pub(super) text: Cow<'a, str>,
    /// Whether something was left out at the end.
    pub(super) cut: bool,
}

/// Makes a query fit, cut at the end of a word where one ends in its second half; `None` where nothing is left to look for.
pub(super) fn fit(query: &str) -> Option<Text<'_>> {
    // LightOn's framework refuses the NUL character.
    let clean = match query.contains('\0') {
        true => Cow::Owned(query.replace('\0', " ")),
        false => Cow::Borrowed(query),
    };
    let text = match clean {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    };
    if text.is_empty() {
        return None;
    }
    let Some((limit, next)) = text.char_indices().nth(MAX_CHARS) else {
        return Some(Text { text, cut: false });
    };
    let head = text.get(..limit).unwrap_or_default();
    let end = match next.is_whitespace() {
        true => head.len(),
        false => word_end(head),
    };
    let kept = head.get(..end).unwrap_or(head).trim_end().to_owned();
    Some(Text {
        text: Cow::Owned(kept),
        cut: true,
    })
}

/// Where the last whole word ends; the end of the text where that would lose half of it, as in a text without spaces.
fn word_end(head: &str) -> usize {
    match head.rfind(char::is_whitespace) {
        Some(at) if at >= head.len() / 2 => at,
        Some(_) | None => head.len(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_query_is_only_trimmed() {
        let text = fit("  what is our policy?\n").unwrap();
        assert_eq!(
            (text.text.as_ref(), text.cut),
            ("what is our policy?", false)
        );
    }

    #[test]
    fn nothing_to_look_for_is_no_query() {
        for blank in ["", "   ", "\n\t", "\0", "\u{a0}\u{2003}"] {
            assert_eq!(fit(blank), None, "{blank:?}");
        }
    }

    #[test]
    fn a_query_of_exactly_the_limit_is_left_alone() {
        let query = "é".repeat(MAX_CHARS);
        assert!(!fit(&query).unwrap().cut);
    }

    #[test]
    fn a_long_query_is_cut_between_two_words() {
        let query = "seven77 ".repeat(1000);
        let text = fit(&query).unwrap();
        assert!(text.cut);
        assert!(text.text.ends_with("seven77"));
        assert_eq!(text.text.chars().count(), MAX_CHARS - 1);
    }

    #[test]
    fn a_word_that_ends_at_the_limit_is_kept() {
        let query = format!("{} more", "a".repeat(MAX_CHARS));
        assert_eq!(fit(&query).unwrap().text.len(), MAX_CHARS);
    }

    #[test]
    fn a_text_without_spaces_is_cut_at_the_limit() {
        let query = format!("first {}", "政".repeat(5000));
        assert_eq!(fit(&query).unwrap().text.chars().count(), MAX_CHARS);
    }

    proptest! {
        #[test]
        fn a_cut_keeps_a_beginning_of_the_query_and_no_half_word(
            query in "[ a-zéß政🦀\u{0}\u{301}]{0,30}",
            times in 1_usize..400,
        ) {
            let query = query.repeat(times);
            let plain = query.replace('\0', " ");
            let Some(text) = fit(&query) else {
                prop_assert!(plain.trim().is_empty());
                return Ok(());
            };
            prop_assert!(plain.trim().starts_with(text.text.as_ref()));
            prop_assert!(!text.text.trim().is_empty());
            prop_assert_eq!(text.text.trim(), text.text.as_ref());
            prop_assert!(text.text.chars().count() <= MAX_CHARS);
            prop_assert!(text.text.chars().count() >= (MAX_CHARS / 2 / 4).min(plain.trim().chars().count()));
            prop_assert_eq!(text.cut, plain.trim().chars().count() > MAX_CHARS);
        }
    }
}
