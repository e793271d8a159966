//! Letters in a row. ASCII is read eight bytes at a time: most words take one step then, instead of one for each letter.

/// A one in each byte.
const EACH: u64 = 0x0101_0101_0101_0101;

/// The highest bit of each byte, free in ASCII: there a question about eight bytes is answered.
const HIGHEST: u64 = 0x80 * EACH;

/// Letters in a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Word {
    /// How many there are.
    pub(super) length: u64,
    /// How many ASCII capitals are among them.
    pub(super) capitals: u64,
    /// Whether the first one is such a capital.
    pub(super) starts_with_capital: bool,
    /// All of them in lower case, the last one lowest, where there are no more than four. None of the short words that are looked for has one
    /// that takes more than a byte.
    pub(super) short: u32,
}

impl Word {
    /// The ASCII letters that `text` begins with.
    #[inline]
    pub(super) fn of(text: &[u8]) -> Self {
        let eight = first_eight(text);
        let letters = are_letters(eight);
        let length = (letters ^ HIGHEST).trailing_zeros() / 8;
        // A capital is a letter without the bit of 0x20, which the shift puts where the answer is.
        let capitals = letters & !(eight << 2) & first_bytes(length);
        let mut word = Self {
            length: length.into(),
            starts_with_capital: capitals & 0x80 != 0,
            ..Self::default()
        };
        if capitals != 0 {
            word.capitals = capitals.count_ones().into();
        }
        if length <= 4 {
            let small = eight as u32 | 0x2020_2020;
            word.short = small.swap_bytes().checked_shr(32 - 8 * length).unwrap_or(0);
        } else if length == 8 {
            word.go_on(text);
        }
        word
    }

    /// Takes in what follows the first eight letters of `text`.
    fn go_on(&mut self, text: &[u8]) {
        let letters = text
            .iter()
            .skip(8)
            .take_while(|byte| byte.is_ascii_alphabetic());
        for letter in letters {
            self.length += 1;
            self.capitals += u64::from(letter.is_ascii_uppercase());
        }
    }

    /// Takes in a letter.
    pub(super) fn push(&mut self, letter: char) {
        let capital = letter.is_ascii_uppercase();
        self.join(&Self {
            length: 1,
            capitals: capital.into(),
            starts_with_capital: capital,
            short: u8::try_from(letter.to_ascii_lowercase())
                .unwrap_or(u8::MAX)
                .into(),
        });
    }

    /// Takes in the letters of `more`.
    pub(super) fn join(&mut self, more: &Self) {
        if self.length == 0 {
            *self = *more;
            return;
        }
        self.length += more.length;
        self.capitals += more.capitals;
        self.short = self.short.unbounded_shl(8 * more.length.min(4) as u32) | more.short;
    }
}

/// The first eight bytes of `text`, the first one lowest, and zeros where there are fewer.
fn first_eight(text: &[u8]) -> u64 {
    match text.first_chunk() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => text
            .iter()
            .rev()
            .fold(0, |eight, byte| eight << 8 | u64::from(*byte)),
    }
}

/// All bits of the first `count` bytes.
fn first_bytes(count: u32) -> u64 {
    !u64::MAX.unbounded_shl(8 * count)
}

/// The highest bit of each byte that is an ASCII letter.
fn are_letters(eight: u64) -> u64 {
    // Without their highest bits no sum of two bytes reaches into the next one. A sum has that bit where the letter is `a` or more, and where
    // it is more than `z`.
    let lower = (eight | (0x20 * EACH)) & !HIGHEST;
    let from_a = lower + (0x80 - u64::from(b'a')) * EACH;
    let beyond_z = lower + (0x7f - u64::from(b'z')) * EACH;
    from_a & !beyond_z & !eight & HIGHEST
}
