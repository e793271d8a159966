//! `[limits.shared]`: where several gateways count the limits of keys together.

use std::time::Duration;

use url::Url;

use super::{
    OnSharedError, Secret, SharedLimits,
    given::Given,
    problem::Fault,
    section::Section,
    values::{duration, optional_text, word},
};

/// How long a request waits for the server: a neighbour in the same network answers in less than a millisecond.
const TIMEOUT: Duration = Duration::from_millis(100);

pub(super) fn shared(mut section: Section<'_>) -> Option<SharedLimits> {
    let is_given = section.gives("redis_url");
    let read = section.read("redis_url", server);
    // An address that is wrong was meant, and its own fault is told.
    let is_meant = is_given && !matches!(read, Some(None));
    let redis_url = read.flatten();
    let timeout = section.read("timeout", duration);
    let policy = word(OnSharedError::WORDS, OnSharedError::from_word);
    let on_error = section.read("on_shared_error", policy);
    if on_error == Some(OnSharedError::Refuse) && !is_meant {
        section.fault(
            "on_shared_error",
            "nothing is shared, so there is no failure to refuse requests for",
            "write `redis_url`, or leave this out",
        );
    }
    section.finish();
    redis_url.map(|redis_url| SharedLimits {
        redis_url,
        timeout: timeout.unwrap_or(TIMEOUT),
        on_error: on_error.unwrap_or(OnSharedError::Local),
    })
}

/// Takes the address of a Redis or Valkey server, an empty one as none. It is never shown: its password may be what is wrong with it.
fn server(given: &Given) -> Result<Option<Secret>, Fault> {
    let Some(text) = optional_text(given)? else {
        // Written as nothing it means none; a variable that turned out empty was meant to hold something.
        return if given.shown {
            Ok(None)
        } else {
            Err(Fault::new(
                "the variable that holds the address is empty",
                "set it, or write `redis_url = \"\"`",
            ))
        };
    };
    let remedy =
        "write one like redis://host:6379/0, or rediss://user:password@host:6379/0 for TLS";
    let url = Url::parse(text.trim())
        .map_err(|error| Fault::new(format!("this is no address ({error})"), remedy))?;
    if !matches!(url.scheme(), "redis" | "rediss" | "valkey" | "valkeys") {
        return Err(Fault::new(
            "the scheme is none of redis, rediss, valkey and valkeys",
            remedy,
        ));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Fault::new("the address names no host", remedy));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Fault::new(
            "there is a query or a fragment in the address",
            "end it before the `?` or `#`",
        ));
    }
    let database = url.path().trim_matches('/');
    if !database.is_empty() && database.parse::<u16>().is_err() {
        return Err(Fault::new(
            "what follows the host is not the number of a database",
            remedy,
        ));
    }
    Ok(Some(Secret::new(url.as_str())))
}
