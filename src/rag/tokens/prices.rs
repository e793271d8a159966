//! What characters and words cost, in hundredths of a token: fitted to what tokenizers count (`benches/tokens`).

use super::word::Word;

/// The price of a word in Latin letters.
#[inline]
pub(super) fn word(word: &Word) -> u64 {
    let length = word.length;
    // Most words are in the vocabulary; long ones come in pieces.
    let letters = match length {
        ..=6 => 95,
        _ => 95 + 20 * (length - 6) + 20 * length.saturating_sub(13),
    };
    let capitals = match word.capitals {
        0 => 0,
        // Vocabularies know few words in capitals alone.
        capitals if capitals == length && length > 1 => 11 * length,
        // Names are rarer than words, and a capital inside begins another piece.
        capitals => {
            let first = u64::from(word.starts_with_capital);
            let name = if length > 3 { 63 * first } else { 0 };
            name + 50 * (capitals - first)
        }
    };
    letters + capitals
}

/// How many words the presence of this one vouches for: English has one of four such words in about six, the Romance languages and German
/// one of theirs in eight or nine. The word is one of four small letters at most, the last one lowest.
#[inline]
pub(super) fn vouches_for(word: u32) -> u64 {
    match KNOWN.get(place(word)) {
        Some((known, count)) if *known == word => *count,
        _ => 0,
    }
}

/// The words that vouch for others, each at its [`place`]: every short word of a text is looked up.
#[expect(clippy::indexing_slicing, reason = "it is done by the compiler")]
const KNOWN: [(u32, u64); 32] = {
    const WORDS: [(&[u8; 4], u64); 22] = [
        (b"\0the", 10),
        (b"\0and", 10),
        (b"\0\0of", 10),
        (b"\0\0to", 10),
        (b"\0\0la", 6),
        (b"\0que", 6),
        (b"\0les", 6),
        (b"\0des", 6),
        (b"\0une", 6),
        (b"\0est", 6),
        (b"dans", 6),
        (b"\0los", 6),
        (b"\0del", 6),
        (b"para", 6),
        (b"\0com", 6),
        (b"\0uma", 6),
        (b"\0\0os", 6),
        (b"\0dos", 6),
        (b"\0\0il", 6),
        (b"\0che", 6),
        (b"\0und", 6),
        (b"\0der", 6),
    ];
    let mut known = [(0, 0); 32];
    let mut next = 0;
    while next < WORDS.len() {
        let word = u32::from_be_bytes(*WORDS[next].0);
        let at = place(word);
        assert!(known[at].1 == 0, "two words have one place");
        known[at] = (word, WORDS[next].1);
        next += 1;
    }
    known
};

/// Where a word stands in [`KNOWN`]. The factor was tried out until no two of them had one place.
const fn place(word: u32) -> usize {
    (word.wrapping_mul(0xa75e_7d4b) >> 27) as usize
}

/// What an accent adds to its word: those of Western Europe less than others.
pub(super) fn accented(character: char) -> u64 {
    match character {
        ..='\u{FF}' => 107,
        ..='\u{24F}' => 142,
        // Vietnamese, whose words are short, which is priced already.
        _ => 0,
    }
}

pub(super) fn cyrillic(character: char) -> u64 {
    match character {
        'А'..='я' => 45,
        // Letters that Russian lacks: vocabularies know less of the languages of Europe that have them, and least of those of Asia.
        '\u{400}'..='\u{45F}' => 165,
        _ => 320,
    }
}

/// The price of a character that is neither ASCII nor a letter of the scripts above: scripts with few words in vocabularies, and symbols.
pub(super) fn symbol(character: char) -> u64 {
    match character {
        '\u{370}'..='\u{3FF}' => 112,
        '\u{590}'..='\u{5FF}' => 124,
        '\u{600}'..='\u{77F}' => 93,
        '\u{900}'..='\u{9FF}' | '\u{B80}'..='\u{BFF}' => 145,
        '\u{B00}'..='\u{B7F}' => 300,
        // The other scripts of India and Sri Lanka.
        '\u{A00}'..='\u{DFF}' => 205,
        '\u{E00}'..='\u{E7F}' => 105,
        '\u{3040}'..='\u{30FF}' => 102,
        '\u{3400}'..='\u{9FFF}' => 126,
        '\u{AC00}'..='\u{D7AF}' => 124,
        '\u{200D}' | '\u{FE00}'..='\u{FE0F}' => 105,
        // Typography.
        ..='\u{36F}'
        | '\u{2000}'..='\u{25FF}'
        | '\u{3000}'..='\u{303F}'
        | '\u{FF00}'..='\u{FFEF}' => 120,
        // Emoji.
        '\u{1F000}'..='\u{1FFFF}' => 301,
        _ => 227,
    }
}
