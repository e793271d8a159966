//! Passages that hold each other: services cut documents into pieces that overlap, and find both.

use crate::retrieval::Passage;

/// Whether the text of the smaller passage stands in that of the larger one.
pub(super) fn holds(larger: &Passage, smaller: &Passage) -> bool {
    let (larger, smaller) = (larger.content.trim(), smaller.content.trim());
    contains(larger.as_bytes(), smaller.as_bytes())
}

/// Whether `part` stands in `text`.
///
/// Every passage is compared with every other, and a search for a text costs more to begin than the search for a byte that few texts have, with
/// a look at what stands around it.
fn contains(text: &[u8], part: &[u8]) -> bool {
    /// A text that repeats itself may hold the beginning everywhere; then the search for the whole is the faster one.
    const TRIES: usize = 8;
    if text.len() <= part.len() {
        return text == part;
    }
    let beginning = part.get(..BEGINNING).unwrap_or(part);
    let bytes = beginning.iter().zip(0..);
    let Some((rare, offset)) = bytes.min_by_key(|(byte, _)| how_common(**byte)) else {
        return true;
    };
    let mut found = memchr::memchr_iter(*rare, text)
        .filter_map(|at| text.get(at.checked_sub(offset)?..))
        .filter(|rest| rest.starts_with(beginning));
    if found
        .by_ref()
        .take(TRIES)
        .any(|rest| rest.starts_with(part))
    {
        return true;
    }
    found.next().is_some() && memchr::memmem::find(text, part).is_some()
}

/// How many bytes of a passage are looked at first.
const BEGINNING: usize = 32;

/// How common a byte is in texts, roughly.
fn how_common(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' | b'0'..=b'9' => 0,
        // What follows the first byte of a character beyond ASCII; that one is often the same for all letters of a script.
        0x80..0xC0 => 1,
        b'a'..=b'z' => 2,
        _ => 3,
    }
}

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

        #[test]
        fn whatever_byte_is_looked_for(before in "[aB é\\n]{0,40}", part in "[aB éж\\n]{0,40}", after in "[aB éж]{0,40}", other in "[aB éж]{0,9}") {
            let text = [before, part.clone(), after].concat();
            prop_assert!(contains(text.as_bytes(), part.as_bytes()));
            prop_assert_eq!(contains(text.as_bytes(), other.as_bytes()), text.contains(&other));
        }
    }
}
