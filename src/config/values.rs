//! What one value becomes: a duration, a size, a word, an address. Each function takes it or says what is wrong and how to write it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use url::Url;

use super::{
    WorkspaceId,
    document::Value,
    given::{Given, unknown_word},
    problem::Fault,
    units::{parse_duration, parse_size},
};

/// Takes a text.
pub(super) fn text(given: &Given) -> Result<String, Fault> {
    match &given.value {
        Value::Text(text) => Ok(text.clone()),
        other => Err(Fault::new(
            format!("this is a text, not {}", other.kind()),
            "put it in quotes",
        )),
    }
}

/// Takes a text, an empty one as none.
pub(super) fn optional_text(given: &Given) -> Result<Option<String>, Fault> {
    text(given).map(|text| Some(text).filter(|text| !text.is_empty()))
}

/// Takes true or false.
pub(super) fn flag(given: &Given) -> Result<bool, Fault> {
    match &given.value {
        Value::Bool(flag) => Ok(*flag),
        Value::Text(text) if text == "true" => Ok(true),
        Value::Text(text) if text == "false" => Ok(false),
        _ => Err(Fault::new(
            format!("{} is neither true nor false", given.quoted()),
            "write `true` or `false`",
        )),
    }
}

/// Takes a whole number within `range`.
pub(super) fn number<T: TryFrom<i64>>(
    range: RangeInclusive<i64>,
) -> impl Fn(&Given) -> Result<T, Fault> {
    move |given| {
        let (from, to) = (range.start(), range.end());
        let remedy = match *to {
            i64::MAX => format!("write a whole number, {from} or more"),
            to => format!("write a whole number from {from} to {to}"),
        };
        let written = match &given.value {
            Value::Integer(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let Some(number) = written else {
            return Err(Fault::new(
                format!("{} is not a whole number", given.quoted()),
                remedy,
            ));
        };
        let fitting = if range.contains(&number) {
            T::try_from(number).ok()
        } else {
            None
        };
        fitting.ok_or_else(|| Fault::new(format!("{} is out of range", given.quoted()), remedy))
    }
}

/// Takes a number within 0 and 1.
pub(super) fn fraction(given: &Given) -> Result<f64, Fault> {
    let written = match &given.value {
        Value::Float(number) => Some(*number),
        // Only 0 and 1 are in range, and both are exact.
        Value::Integer(number) => i32::try_from(*number).ok().map(f64::from),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    let in_range = written.filter(|number| (0.0..=1.0).contains(number));
    in_range.ok_or_else(|| {
        Fault::new(
            format!("{} is no number from 0 to 1", given.quoted()),
            "write one like 0.5",
        )
    })
}

/// Takes a duration that is longer than none.
pub(super) fn duration(given: &Given) -> Result<Duration, Fault> {
    let duration = duration_or_none(given)?;
    if duration.is_zero() {
        return Err(Fault::new(
            format!("{} would be over before it begins", given.quoted()),
            "write a longer time, like 10s",
        ));
    }
    Ok(duration)
}

/// Takes a duration, `0s` included.
pub(super) fn duration_or_none(given: &Given) -> Result<Duration, Fault> {
    let parsed = match &given.value {
        Value::Text(text) => parse_duration(text),
        _ => None,
    };
    parsed.ok_or_else(|| {
        Fault::new(
            format!("{} is no duration", given.quoted()),
            "write whole numbers with units, like 500ms, 10s, 1m30s or 24h (a year at most)",
        )
    })
}

/// Takes a date-time with its offset (RFC 3339), or a date, which means the end of that day in UTC.
pub(super) fn moment(given: &Given) -> Result<Timestamp, Fault> {
    let text = match &given.value {
        Value::Text(text) | Value::Date(text) => text.trim(),
        Value::Integer(_)
        | Value::Float(_)
        | Value::Bool(_)
        | Value::List(_)
        | Value::Table(_)
        | Value::Unfit(_) => "",
    };
    let moment = text.parse().ok().or_else(|| end_of_day(text));
    moment.ok_or_else(|| {
        Fault::new(
            format!("{} is no date", given.quoted()),
            "write a date like \"2027-12-31\", or a time with its offset like \"2027-12-31T18:00:00Z\"",
        )
    })
}

fn end_of_day(text: &str) -> Option<Timestamp> {
    // The parser would take a time of day too, and leave it out.
    let date: Date = text.parse().ok().filter(|_| text.len() == 10)?;
    let next = date.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?;
    Some(next.timestamp())
}

/// Takes a size in bytes, at least one.
pub(super) fn size(given: &Given) -> Result<usize, Fault> {
    let parsed = match &given.value {
        Value::Integer(bytes) => usize::try_from(*bytes).ok(),
        Value::Text(text) => parse_size(text),
        _ => None,
    };
    parsed.filter(|bytes| *bytes > 0).ok_or_else(|| {
        Fault::new(
            format!("{} is no size", given.quoted()),
            "write one like 20MB, 512KiB or 1000000 (bytes)",
        )
    })
}

/// Takes one of `words`, as `from_word` understands it.
pub(super) fn word<T>(
    words: &'static [&'static str],
    from_word: impl Fn(&str) -> Option<T>,
) -> impl Fn(&Given) -> Result<T, Fault> {
    move |given| {
        let found = match &given.value {
            Value::Text(text) => from_word(text),
            _ => None,
        };
        found.ok_or_else(|| unknown_word(given, words))
    }
}

/// Takes a list of what `each` takes; a text is a list with commas, as variables write it, in brackets or not, and a lone number a list of one.
pub(super) fn list<T>(
    each: impl Fn(&Given) -> Result<T, Fault>,
) -> impl Fn(&Given) -> Result<Vec<T>, Fault> {
    move |given| {
        let items = match &given.value {
            Value::List(items) => items.clone(),
            Value::Text(text) => {
                let text = text.trim();
                let inner = text
                    .strip_prefix('[')
                    .and_then(|text| text.strip_suffix(']'));
                let parts = inner
                    .unwrap_or(text)
                    .split(',')
                    .map(|part| part.trim().trim_matches(['"', '\'']))
                    .filter(|part| !part.is_empty());
                parts.map(|part| Value::Text(part.to_owned())).collect()
            }
            Value::Integer(_) => vec![given.value.clone()],
            other => {
                return Err(Fault::new(
                    format!("this is a list, not {}", other.kind()),
                    "write it in square brackets",
                ));
            }
        };
        items
            .into_iter()
            .map(|value| {
                each(&Given {
                    value,
                    shown: given.shown,
                })
            })
            .collect()
    }
}

/// Takes a list that names at least one thing.
pub(super) fn some<T>(
    each: impl Fn(&Given) -> Result<T, Fault>,
    remedy: &'static str,
) -> impl Fn(&Given) -> Result<Vec<T>, Fault> {
    let items = list(each);
    move |given| {
        let items = items(given)?;
        if items.is_empty() {
            Err(Fault::new("the list is empty", remedy))
        } else {
            Ok(items)
        }
    }
}

/// Takes a text that is not empty.
pub(super) fn name(given: &Given) -> Result<String, Fault> {
    let name = text(given)?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Fault::new(
            "a name is empty or holds control characters",
            "write a readable name",
        ));
    }
    Ok(name)
}

/// Takes the number of a workspace.
pub(super) fn workspace(given: &Given) -> Result<WorkspaceId, Fault> {
    number::<i64>(1..=i64::MAX)(given).map(WorkspaceId)
}

/// Takes the address to listen on.
pub(super) fn listen(given: &Given) -> Result<SocketAddr, Fault> {
    let text = text(given)?;
    listen_address(&text).ok_or_else(|| {
        Fault::new(
            format!("{} is no address to listen on", given.quoted()),
            "write a number address and a port, like 127.0.0.1:8080 or [::]:8080",
        )
    })
}

/// Reads an address to listen on: a number address, or `localhost`, with a port. No other name is looked up.
pub fn listen_address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    match text.strip_prefix("localhost:") {
        Some(port) => Some((Ipv4Addr::LOCALHOST, port.parse().ok()?).into()),
        None => text.parse().ok(),
    }
}

/// Takes an HTTP address without credentials, query or fragment; a slash at its end is removed.
pub(super) fn address(given: &Given) -> Result<Url, Fault> {
    let text = text(given)?;
    // The address itself is never shown: its credentials may be what is wrong with it.
    let mut url = Url::parse(text.trim()).map_err(|error| {
        Fault::new(
            format!("this is no web address ({error})"),
            "write one like https://host/v1",
        )
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Fault::new(
            "the scheme is neither http nor https",
            "begin it with https:// or http://",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::new(
            "there are credentials in the address",
            "take them out; a key goes into `api_key`",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Fault::new(
            "there is a query or a fragment in the address",
            "end it before the `?` or `#`",
        ));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_loses_the_slash_at_its_end() {
        let given = |text: &str| Given {
            value: Value::Text(text.into()),
            shown: true,
        };

        assert_eq!(
            address(&given("https://host/v1//")).unwrap().as_str(),
            "https://host/v1"
        );
        assert_eq!(address(&given("http://127.0.0.1:1/")).unwrap().path(), "/");
    }

    #[test]
    fn an_address_to_listen_on_is_a_number_or_this_machine() {
        for (text, expected) in [
            ("127.0.0.1:8080", Some("127.0.0.1:8080")),
            (" [::1]:0 ", Some("[::1]:0")),
            ("localhost:8080", Some("127.0.0.1:8080")),
            ("localhost", None),
            ("localhost:", None),
            ("localhost:99999", None),
            ("example.org:8080", None),
            (":8080", None),
        ] {
            let read = listen_address(text).map(|address| address.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
