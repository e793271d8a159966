//! Passages that hold each other: services cut documents into pieces that overlap, and find both.

use crate::retrieval::Passage;

/// Whether the text of the smaller passage stands in that of the larger one.
pub(super) fn holds(larger: &Passage, smaller: &Passage) -> bool {
    let (larger, smaller) = (larger.content.trim(), smaller.content.trim());
    contains(larger.as_bytes(), smaller.as_bytes())
}

/// Whether `part` stands in `text`.
///
/// Every passage is compared with every other, and a search for a whole one costs far more to begin than the search for its first bytes, which
/// stand in few others.
fn contains(text: &[u8], part: &[u8]) -> bool {
    /// A text that repeats itself may hold those bytes everywhere; then the search for the whole is the faster one.
    const TRIES: usize = 8;
    if text.len() <= part.len() {
        return text == part;
    }
    let beginning = part.get(..BEGINNING).unwrap_or(part);
    let mut found = memchr::memmem::find_iter(text, beginning);
    let mut places = found.by_ref().take(TRIES);
    if places.any(|at| text.get(at..).is_some_and(|rest| rest.starts_with(part))) {
        return true;
    }
    found.next().is_some() && memchr::memmem::find(text, part).is_some()
}

/// How many bytes of a passage are looked for at first.
const BEGINNING: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_contained_is_found_wherever_it_stands(before in "[ab]{0,60}", part in "[ab]{0,4}|a{30,60}|[ab]{30,60}", after in "[ab]{0,60}", other in "[ab]{0,40}|a{20,80}") {
            let text = [before, part.clone(), after].concat();
            prop_assert!(contains(text.as_bytes(), part.as_bytes()));
            prop_assert_eq!(contains(text.as_bytes(), other.as_bytes()), text.contains(&other));
        }
    }
}
