//! The estimate of long texts from parts of them, for numbers that decide nothing exact.

use super::counter::Counter;

/// How much of the texts is looked at, in bytes. Texts that are no longer together are looked at whole.
const SAMPLE: usize = 512;

/// How long a part is, in bytes: many short ones know more than a long one, but each has words that its ends cut.
const PART: usize = 64;

/// An estimate of texts whose length is known beforehand, from parts that are as far from each other all the way.
#[derive(Debug, Clone)]
pub struct Sample {
    counter: Counter,
    /// The bytes of the texts so far.
    bytes: u64,
    /// Those of them that were looked at.
    seen: u64,
    /// How far the beginnings of two parts are from each other; `None`: everything is looked at.
    stride: Option<usize>,
    /// How far behind the beginning of the next text its first part begins.
    next: usize,
}

impl Sample {
    /// A sample of texts that have `length` bytes together.
    pub fn of(length: usize) -> Self {
        let stride = (length > SAMPLE).then(|| PART.saturating_mul(length / SAMPLE + 1));
        Self {
            counter: Counter::default(),
            bytes: 0,
            seen: 0,
            stride,
            next: stride.map_or(0, |stride| (stride - PART) / 2),
        }
    }

    /// Takes in the next text.
    pub fn add(&mut self, text: &str) {
        self.look_at(text, Counter::add);
    }

    /// Takes in the next text, which is the inside of a JSON string.
    pub fn add_json(&mut self, inside: &str) {
        self.look_at(inside, Counter::add_json);
    }

    /// An estimate of the tokens of all texts.
    pub fn total(&self) -> u32 {
        let counted = u64::from(self.counter.total());
        let tokens = match self.seen {
            // Nothing is known but the length: the texts were not as long as was said.
            0 => self.bytes.div_ceil(4),
            seen if seen == self.bytes => counted,
            seen => counted.saturating_mul(self.bytes).div_ceil(seen),
        };
        u32::try_from(tokens.min(self.bytes)).unwrap_or(u32::MAX)
    }

    fn look_at(&mut self, text: &str, count: fn(&mut Counter, &str)) {
        self.bytes += text.len() as u64;
        let Some(stride) = self.stride else {
            self.count(text, count);
            return;
        };
        let mut at = self.next;
        while at < text.len() {
            let part = text.floor_char_boundary(at)..text.floor_char_boundary(at + PART);
            self.count(text.get(part).unwrap_or_default(), count);
            at = at.saturating_add(stride);
        }
        self.next = at - text.len();
    }

    fn count(&mut self, part: &str, count: fn(&mut Counter, &str)) {
        self.seen += part.len() as u64;
        count(&mut self.counter, part);
        // What a part ends with does not go on in the next one.
        self.counter.pause();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::estimate, *};

    fn about(text: &str) -> u32 {
        let mut sample = Sample::of(text.len());
        sample.add(text);
        sample.total()
    }

    #[test]
    fn a_long_text_is_estimated_from_parts_all_over_it() {
        let prose = "Invoices of former customers are kept for ten years, and deleted in the month after that by the archive. ";
        let numbers = "4400-017;120;14.50;1740.00\n";
        for text in [
            prose.repeat(100),
            numbers.repeat(400),
            prose.repeat(50) + &numbers.repeat(200),
            numbers.repeat(200) + &prose.repeat(50),
            "Données à conserver cinq ans après la fin du contrat. ".repeat(200),
            "契約が終了した日から五年間保存します。".repeat(300),
        ] {
            let (about, estimate) = (f64::from(about(&text)), f64::from(estimate(&text)));
            let error = (about / estimate - 1.0).abs();
            assert!(error < 0.1, "{about} for {estimate}: {}", &text[..30]);
        }
    }

    #[test]
    fn texts_are_sampled_as_if_they_were_one() {
        let text = "Invoices of former customers are kept for ten years, 5 at least. ".repeat(9);
        let mut sample = Sample::of(text.len() * 7);
        for _ in 0..7 {
            sample.add(&text);
        }
        let estimate = f64::from(7 * estimate(&text));
        let error = (f64::from(sample.total()) / estimate - 1.0).abs();
        assert!(error < 0.1, "{} for {estimate}", sample.total());
        assert!(sample.seen <= SAMPLE as u64, "{} bytes", sample.seen);
    }

    proptest! {
        #[test]
        fn a_short_text_is_estimated_whole(text in "(?s).{0,100}") {
            prop_assert_eq!(about(&text), estimate(&text));
        }

        #[test]
        fn any_text_of_any_length_said_is_taken(texts in prop::collection::vec("(?s).{0,300}", 0..5), length in 0_usize..5000) {
            let mut sample = Sample::of(length);
            for text in &texts {
                sample.add(text);
                sample.add_json(text);
            }
            let bytes: usize = texts.iter().map(|text| 2 * text.len()).sum();
            prop_assert!(sample.total() as usize <= bytes);
        }
    }
}
