//! How many tokens a text is, without a tokenizer.
//!
//! Every model of every upstream has its own, so none would be right. A token never covers less than a byte, so what fits by bytes fits; for
//! the rest stands the estimate below. It follows how the tokenizers of GPT and Llama cut a text before they look anything up (words with the
//! space or mark before them, digits by three, runs of marks, ends of lines), with prices that were fitted to what they count.
//!
//! `benches/tokens` measures it and `docs/tokens.md` has the whole table. An estimate that is low can overflow a model's window, one that is
//! high only leaves a passage out, so it leans high. In per cent over (+) or under (-) what the tokenizer counts, mean and range of files:
//!
//! | text | GPT-4 | GPT-4o, gpt-oss | Llama 3 |
//! |---|--:|--:|--:|
//! | 24 articles of Wikipedia, English | +9 (-2..+20) | +9 (+1..+19) | +9 (-2..+20) |
//! | 10 documents of the handbook, English | +6 (+3..+12) | +7 (+4..+12) | +6 (+3..+12) |
//! | a document of the handbook, French | +13 | +31 | +13 |
//! | German, Italian, Polish, Spanish | +12 (+5..+20) | +36 (+24..+52) | +12 (+5..+20) |
//! | Rust sources | +14 (+1..+27) | +14 (+2..+25) | +14 (+1..+27) |
//! | Markdown lists, a CSV file of numbers | +10, +11 | +11, +11 | +10, +11 |
//! | Japanese, Russian, Arabic | +10, +20, +9 | +48, +122, +175 | +59, +84, +115 |
//!
//! What is held of a limit until the upstream has counted need not be as exact: there half a kilobyte of a longer text stands for all of it, a
//! [`Sample`]. Passages and context windows are never decided by one.

mod counter;
mod prices;
mod sample;
mod word;

#[cfg(test)]
mod tests;

pub use self::{counter::Counter, sample::Sample};

/// An estimate of the tokens of `text`.
pub fn estimate(text: &str) -> u32 {
    let mut counter = Counter::default();
    counter.add(text);
    counter.total()
}

/// An estimate of the tokens of `text` where it is at most `budget` tokens, by bytes where that decides it.
pub fn within(text: &str, budget: u32) -> Option<u32> {
    let fits = u32::try_from(text.len()).is_ok_and(|bytes| bytes <= budget);
    let tokens = estimate(text);
    (fits || tokens <= budget).then_some(tokens)
}
