//! Durations and sizes as an operator writes them.

use std::time::Duration;

/// Parses `1m30s`: whole numbers, each with one of `ms`, `s`, `m`, `h`, `d`. Bounded by a year, far inside what an `Instant` can add.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    const YEAR_MS: u64 = 365 * 86_400_000;
    let mut rest = text.trim();
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(
            after
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(after.len()),
        );
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total_ms = digits
            .parse::<u64>()
            .ok()?
            .checked_mul(unit_ms)?
            .checked_add(total_ms)?;
        rest = after;
    }
    (!text.trim().is_empty() && total_ms <= YEAR_MS).then(|| Duration::from_millis(total_ms))
}

/// Parses `20MB` (20,000,000 bytes) and `1MiB` (1,048,576 bytes), in any case of letters.
pub(super) fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let (digits, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let unit_bytes: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    usize::try_from(digits.parse::<u64>().ok()?.checked_mul(unit_bytes)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        for (text, ms) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("1m30s", 90_000),
            ("0s", 0),
            (" 1d ", 86_400_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "10 s",
            "1y",
            "366d",
            "99999999999999999999s",
            "18446744073709551615h",
            "1é",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_decimal_or_binary() {
        for (text, bytes) in [
            ("20MB", 20_000_000),
            ("1MiB", 1_048_576),
            ("512KB", 512_000),
            ("4 kib", 4096),
            ("7", 7),
            ("7B", 7),
            ("1GB", 1_000_000_000),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "MB",
            "20M",
            "-1",
            "1.5MB",
            "99999999999999999999GB",
            "18446744073709551615GiB",
            "1é",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_duration_and_a_size_or_is_not(text in r"[0-9a-zA-Zé \-\.]{0,24}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }

        #[test]
        fn a_duration_is_read_as_it_was_meant(minutes in 0u64..500_000, seconds in 0u64..100, ms in 0u64..10_000) {
            let parsed = parse_duration(&format!("{minutes}m{seconds}s{ms}ms"));
            prop_assert_eq!(parsed, Some(Duration::from_millis(minutes * 60_000 + seconds * 1000 + ms)));
        }
    }
}
