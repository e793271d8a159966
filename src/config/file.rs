//! The mirror of the file: every key with its default, one line each. `config/reference.toml` says in a sentence what each is for.
//!
//! What hangs together across sections is put together in `resolve`, `upstreams`, `models` and `keys`.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use tracing_subscriber::EnvFilter;
use url::Url;

use super::{
    AllowOverrides, Citations, Files, FilesTarget, HeartbeatKind, InjectAs, Limits, Links, Log,
    LogFormat, Mode, OnNoResults, OnSearchError, Problem, QueryFrom, REQUEST_KEYS, Rag, RagLayer,
    RelevanceScoring, Retry, SearchCache, SearchMode, Secret, SkipRule, Sources, Stream, Timeouts,
    document::Value,
    given::{Given, unknown_word},
    problem::Fault,
    section::Section,
    shared,
    values::{
        address, duration, duration_or_none, flag, fraction, list, name, number, optional_text,
        size, text, word, workspace,
    },
};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// `[search]`, before it is known which backend needs what.
pub(super) struct Search {
    pub(super) is_local: bool,
    pub(super) base_url: Option<Url>,
    /// What the key is, or why it is not there, which may not matter.
    pub(super) api_key: Option<Result<Secret, Problem>>,
    pub(super) timeout: Duration,
    pub(super) requests_per_minute: u32,
    pub(super) cache: Option<SearchCache>,
    pub(super) documents: PathBuf,
}

pub(super) fn search(mut section: Section<'_>) -> Search {
    const BACKENDS: &[&str] = &["lighton", "local"];
    let backend = word(BACKENDS, |word| {
        BACKENDS.iter().find(|backend| **backend == word).copied()
    });
    let search = Search {
        is_local: section.read("backend", backend).unwrap_or("lighton") == "local",
        base_url: section
            .read("base_url", address)
            .or_else(|| Url::parse("https://api.lighton.ai").ok()),
        api_key: section.try_read("api_key", search_key),
        timeout: section.read("timeout", duration).unwrap_or(seconds(10)),
        requests_per_minute: section
            .read("requests_per_minute", number(1..=1_000_000_000))
            .unwrap_or(1000),
        cache: search_cache(&mut section),
        documents: section
            .read("documents", name)
            .unwrap_or_else(|| "documents".to_owned())
            .into(),
    };
    section.finish();
    search
}

fn search_cache(section: &mut Section<'_>) -> Option<SearchCache> {
    let ttl = section
        .read("cache_ttl", duration_or_none)
        .unwrap_or(seconds(60));
    let entries = section
        .read("cache_entries", number(1..=10_000_000))
        .unwrap_or(10_000);
    (!ttl.is_zero()).then_some(SearchCache { ttl, entries })
}

pub(super) fn search_key(given: &Given) -> Result<Secret, Fault> {
    let secret = secret(given)?;
    if secret.expose() == "client" {
        return Err(Fault::new(
            "a caller's own key is never sent to search",
            "write the key of the gateway, like `${LIGHTON_API_KEY}`",
        ));
    }
    Ok(secret)
}

/// Takes a key that can stand in a header.
pub(super) fn secret(given: &Given) -> Result<Secret, Fault> {
    let secret = text(given)?;
    // A line break at the end comes with every key that was pasted into a file.
    let secret = secret.trim();
    if secret.is_empty() {
        return Err(Fault::new(
            "the key is empty",
            "write the key, or the variable that holds it like `${NAME}`",
        ));
    }
    if http::HeaderValue::from_str(secret).is_err() {
        return Err(Fault::new(
            "the key holds a character that no header may carry",
            "look for line breaks inside it",
        ));
    }
    Ok(Secret::new(secret))
}

/// Takes a key that stands in a variable of its own rather than in the file.
pub(super) fn secret_in(variable: &str, text: &str) -> Result<Secret, Fault> {
    let given = Given {
        value: Value::Text(text.to_owned()),
        shown: false,
    };
    secret(&given).map_err(|fault| {
        Fault::new(
            format!("in the variable `{variable}`, {}", fault.wrong),
            fault.remedy,
        )
    })
}

/// Reads `[rag]`, or the `rag` of a model or a key.
pub(super) fn rag(mut section: Section<'_>) -> RagLayer {
    let layer = RagLayer {
        mode: section.read("mode", word(Mode::WORDS, Mode::from_word)),
        workspace_id: section.read("workspace_id", list(workspace)),
        max_results: section.read("max_results", number(1..=100)),
        min_relevance: section.read("min_relevance", fraction),
        passage_tokens: section.read("passage_tokens", number(1..=100_000_000)),
        query_from: section.read("query_from", word(QueryFrom::WORDS, QueryFrom::from_word)),
        rewrite_model: section.read("rewrite_model", optional_text).flatten(),
        skip: section.read("skip", list(word(SkipRule::WORDS, SkipRule::from_word))),
        search_mode: section.read(
            "search_mode",
            word(SearchMode::WORDS, SearchMode::from_word),
        ),
        relevance_scoring: section.read(
            "relevance_scoring",
            word(RelevanceScoring::WORDS, RelevanceScoring::from_word),
        ),
        citations: section.read("citations", citations),
        sources: section.read("sources", word(Sources::WORDS, Sources::from_word)),
        on_search_error: section.read(
            "on_search_error",
            word(OnSearchError::WORDS, OnSearchError::from_word),
        ),
        on_no_results: section.read(
            "on_no_results",
            word(OnNoResults::WORDS, OnNoResults::from_word),
        ),
        inject_as: section.read("inject_as", word(InjectAs::WORDS, InjectAs::from_word)),
        max_rounds: section.read("max_rounds", number(1..=100)),
        max_searches: section.read("max_searches", number(1..=1000)),
        template: section.read("template", template).flatten(),
    };
    section.finish();
    layer
}

/// Checks that who rewrites queries names the model that does it; `base` is what the layer lies over.
pub(super) fn check_rewriting(layer: &RagLayer, base: &Rag, path: &str) -> Option<Problem> {
    let rewrites = layer.query_from == Some(QueryFrom::Rewrite);
    (rewrites && base.with(layer).rewrite_model.is_none()).then(|| {
        Problem::new(
            format!("{path}.query_from"),
            "`rewrite` needs a model that rewrites",
            "name it in `rewrite_model`",
        )
    })
}

fn citations(given: &Given) -> Result<Citations, Fault> {
    match &given.value {
        Value::Bool(true) => Ok(Citations::On),
        Value::Bool(false) => Ok(Citations::Off),
        Value::Text(text) if text == "true" => Ok(Citations::On),
        Value::Text(text) if text == "false" => Ok(Citations::Off),
        Value::Text(text) if text == "auto" => Ok(Citations::Auto),
        _ => Err(unknown_word(given, &["true", "false", "auto"])),
    }
}

fn template(given: &Given) -> Result<Option<String>, Fault> {
    let template = optional_text(given)?;
    if template
        .as_ref()
        .is_some_and(|text| !text.contains("{{ context }}"))
    {
        return Err(Fault::new(
            "there is no place for the passages",
            "write `{{ context }}` where they go, with these spaces",
        ));
    }
    Ok(template)
}

/// Takes true, false or a list of `rag` keys.
pub(super) fn allow_overrides(given: &Given) -> Result<AllowOverrides, Fault> {
    if let Ok(all) = flag(given) {
        return Ok(if all {
            AllowOverrides::All
        } else {
            AllowOverrides::None
        });
    }
    let key = |key: &str| REQUEST_KEYS.iter().find(|known| **known == key).copied();
    let keys: BTreeSet<String> = list(word(REQUEST_KEYS, key))(given)?
        .into_iter()
        .map(str::to_owned)
        .collect();
    Ok(if keys.is_empty() {
        AllowOverrides::None
    } else {
        AllowOverrides::Only(keys)
    })
}

pub(super) fn stream(mut section: Section<'_>) -> Stream {
    let kind = word(HeartbeatKind::WORDS, HeartbeatKind::from_word);
    let stream = Stream {
        heartbeat: Some(
            section
                .read("heartbeat", duration_or_none)
                .unwrap_or(seconds(15)),
        )
        .filter(|every| !every.is_zero()),
        heartbeat_kind: section
            .read("heartbeat_kind", kind)
            .unwrap_or(HeartbeatKind::Comment),
        commit_after: section
            .read("commit_after", duration_or_none)
            .unwrap_or(seconds(5)),
    };
    section.finish();
    stream
}

pub(super) fn limits(mut section: Section<'_>) -> Limits {
    let limits = Limits {
        request_body_bytes: section.read("request_body", size).unwrap_or(20_000_000),
        file_bytes: section
            .read("file", size)
            .and_then(|bytes| u64::try_from(bytes).ok())
            .unwrap_or(512_000_000),
        event_bytes: section.read("event", size).unwrap_or(1_000_000),
        concurrent_requests: section
            .read("concurrent_requests", number(1..=1_000_000))
            .unwrap_or(10_000),
        shared: shared::shared(section.section("shared")),
    };
    section.finish();
    limits
}

pub(super) fn timeouts(mut section: Section<'_>) -> Timeouts {
    // One key for both waits on a model, because many operators know only one such time.
    let first_byte = section.read("first_byte", duration);
    let timeouts = Timeouts {
        connect: section.read("connect", duration).unwrap_or(seconds(5)),
        first_event: section
            .read("first_event", duration)
            .or(first_byte)
            .unwrap_or(seconds(300)),
        answer: section
            .read("answer", duration)
            .or(first_byte)
            .unwrap_or(seconds(600)),
        idle: section.read("idle", duration).unwrap_or(seconds(120)),
        total: section.read("total", duration).unwrap_or(seconds(30 * 60)),
        body: section.read("body", duration).unwrap_or(seconds(30)),
        drain_delay: section
            .read("drain_delay", duration_or_none)
            .unwrap_or(seconds(5)),
        shutdown: section
            .read("shutdown", duration_or_none)
            .unwrap_or(seconds(20)),
    };
    section.finish();
    timeouts
}

pub(super) fn retry(mut section: Section<'_>) -> Retry {
    let default = Retry::default();
    let retry = Retry {
        attempts: section
            .read("attempts", number(1..=100))
            .unwrap_or(default.attempts),
        max_wait: section
            .read("max_wait", duration_or_none)
            .unwrap_or(default.max_wait),
        budget: section.read("budget", fraction).unwrap_or(default.budget),
        set_aside_after: section
            .read("set_aside_after", number(0..=1_000_000))
            .unwrap_or(default.set_aside_after),
        set_aside: section
            .read("set_aside", duration)
            .unwrap_or(default.set_aside),
    };
    section.finish();
    retry
}

pub(super) fn files(mut section: Section<'_>) -> Files {
    let target = word(FilesTarget::WORDS, FilesTarget::from_word);
    let files = Files {
        target: section
            .read("target", target)
            .unwrap_or(FilesTarget::LightOn),
        workspace_id: section.read("workspace_id", workspace),
    };
    section.finish();
    files
}

pub(super) fn links(mut section: Section<'_>) -> Links {
    let links = Links {
        secret: section
            .read("secret", optional_text)
            .flatten()
            .map(Secret::new),
        ttl: section.read("ttl", duration).unwrap_or(seconds(24 * 3600)),
    };
    section.finish();
    links
}

pub(super) fn log(mut section: Section<'_>) -> Log {
    let log = Log {
        format: section
            .read("format", word(LogFormat::WORDS, LogFormat::from_word))
            .unwrap_or(LogFormat::Text),
        level: section
            .read("level", log_level)
            .unwrap_or_else(|| "info".to_owned()),
        sources: section.read("sources", flag).unwrap_or(false),
    };
    section.finish();
    log
}

fn log_level(given: &Given) -> Result<String, Fault> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let level = text(given)?;
    // The filter takes any bare word as the name of a module, so that a mistyped level would silence the log.
    let parts = level
        .split(',')
        .map(|part| part.rsplit('=').next().unwrap_or(part).trim());
    let known = parts
        .into_iter()
        .all(|part| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part)));
    if !known || EnvFilter::try_new(&level).is_err() {
        return Err(Fault::new(
            format!("{} is no level", given.quoted()),
            "write `error`, `warn`, `info`, `debug` or `trace`, or a filter like `info,groundwire=debug`",
        ));
    }
    Ok(level)
}
