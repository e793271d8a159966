//! Numbers and times as parts of a line, the same that `Debug` writes, without the detour.

use std::{
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;

/// A whole number.
pub(super) fn whole(line: &mut String, number: impl itoa::Integer) {
    line.push_str(itoa::Buffer::new().format(number));
}

/// A number whose only digit behind the point is told, as of milliseconds; false where it has more, and nothing is written.
pub(super) fn tenths(line: &mut String, number: f64) -> bool {
    // Below this every number of tenths has a `f64` of its own, so that no shorter text means the same one.
    let is_small = number.is_sign_positive() && number < 1e14;
    let tenths = (number * 10.0).round();
    if !is_small || tenths / 10.0 != number {
        return false;
    }
    let tenths = tenths as u64;
    whole(line, tenths / 10);
    line.push('.');
    whole(line, tenths % 10);
    true
}

/// Tells the time, in UTC; the text of a second is made once.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: u64,
    /// Such as `2026-01-31T08:15:30`; empty before the first time.
    text: String,
}

impl Clock {
    /// Now, such as `2026-01-31T08:15:30.123456Z`.
    pub(super) fn tell(&mut self, line: &mut String) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        self.tell_at(line, now.as_secs(), now.subsec_micros());
    }

    fn tell_at(&mut self, line: &mut String, second: u64, micros: u32) {
        if self.second != second || self.text.is_empty() {
            self.second = second;
            self.text.clear();
            let time = i64::try_from(second).map(Timestamp::from_second);
            if let Ok(Ok(time)) = time {
                // Writing to a string cannot fail.
                let _ = write!(self.text, "{time}");
                self.text.pop();
            }
        }
        line.push_str(&self.text);
        // The one in front keeps the zeros behind it.
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(1_000_000 + micros);
        line.push('.');
        line.push_str(digits.get(1..).unwrap_or_default());
        line.push('Z');
    }
}
