//! `[upstreams]`: which providers are on, and how each is reached.

use http::{HeaderName, HeaderValue};
use url::Url;

use super::{
    ApiKey, Environment, Http2, PRESETS, Preset, QUIRKS, Quirk, Upstream,
    document::Table,
    file::{secret, secret_in},
    given::Given,
    problem::{Fault, listed},
    section::Section,
    values::{self, address, list, number, some, text, word},
};

/// How many streams share an HTTP/2 connection where nobody says: what most providers allow.
const STREAMS_PER_CONNECTION: usize = 100;

/// What turns an upstream on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TurnedOn {
    /// Being named in the file, or in a variable: then all it needs must be there.
    ByName,
    /// The presence of its key in the environment, because there is no file.
    ByKey,
}

/// The upstreams that are right, and the names of all, so that a fault in one does not make others of what refers to it.
pub(super) struct Upstreams {
    pub(super) right: Vec<Upstream>,
    pub(super) names: Vec<String>,
}

/// Reads `[upstreams]` in the order of the file, or else of the presets.
pub(super) fn upstreams(
    root: &mut Section<'_>,
    env: &Environment,
    turned_on: TurnedOn,
) -> Upstreams {
    let mut entries = root.entries("upstreams");
    let in_variables = root.entries_in_variables("upstreams", &entries);
    match turned_on {
        TurnedOn::ByName => in_variables
            .into_iter()
            .for_each(|(name, section)| refuse(&name, section)),
        TurnedOn::ByKey => entries.extend(by_key(root, env, in_variables)),
    }
    let mut upstreams = Upstreams {
        right: Vec::new(),
        names: Vec::new(),
    };
    for (name, section) in entries {
        upstreams.right.extend(upstream(&name, section, env));
        upstreams.names.push(name);
    }
    upstreams
}

/// Refuses an upstream that only a variable names: with a file, exactly the upstreams that it names are on.
fn refuse(name: &str, mut section: Section<'_>) {
    section.discard(KEYS);
    section.fault_here(
        "a variable is set for this upstream, which the file does not name",
        format!("write `[upstreams.{name}]` into the file, or unset the variable"),
    );
}

/// Finds the presets whose key is set, in the order of their table, and after them the others that variables name.
fn by_key<'r>(
    root: &Section<'r>,
    env: &Environment,
    mut named: Vec<(String, Section<'r>)>,
) -> Vec<(String, Section<'r>)> {
    let mut entries = Vec::new();
    for preset in &PRESETS {
        let has_key = preset
            .variable
            .is_some_and(|variable| env.get(variable).is_some());
        let named = named
            .iter()
            .position(|(name, _)| name == preset.name)
            .map(|position| named.remove(position));
        match named {
            Some((name, section))
                if has_key || preset.variable.is_none() || section.gives("api_key") =>
            {
                entries.push((name, section));
            }
            // Its address alone does not turn it on: an image may set the addresses of all.
            Some((_, mut section)) => section.discard(KEYS),
            None if has_key => {
                entries.push((
                    preset.name.to_owned(),
                    root.entry("upstreams", preset.name, Table::new()),
                ));
            }
            None => {}
        }
    }
    entries.extend(named);
    entries
}

/// Says that nothing can answer, and what would.
pub(super) fn none_is_on(root: &Section<'_>, turned_on: TurnedOn) {
    let variables = listed(PRESETS.iter().filter_map(|preset| preset.variable));
    let presets = listed(PRESETS.iter().map(|preset| preset.name));
    let remedy = match turned_on {
        TurnedOn::ByKey => format!(
            "set one of {variables}, or write a file that names one, like `[upstreams.ollama]`"
        ),
        TurnedOn::ByName => format!(
            "name one, like `[upstreams.scaleway]`; {presets} need only their key, from {variables}"
        ),
    };
    root.fault("upstreams", "no model provider is named", remedy);
}

/// Every key of an upstream.
const KEYS: &[&str] = &[
    "base_url",
    "api_key",
    "models",
    "headers",
    "quirks",
    "context_window",
    "http2",
    "streams_per_connection",
];

fn upstream(name: &str, mut section: Section<'_>, env: &Environment) -> Option<Upstream> {
    check_name(name, &section);
    let preset = Preset::named(name);
    let base_url = base_url(&mut section, preset);
    let api_key = api_key(&mut section, preset, env);
    let own_models = section.read(
        "models",
        some(
            values::name,
            "leave it out to ask the upstream's own /models",
        ),
    );
    let own_quirks = section.read("quirks", list(word(QUIRKS, Quirk::from_word)));
    let quirks = own_quirks.unwrap_or_else(|| {
        preset
            .map(|preset| preset.quirks.to_vec())
            .unwrap_or_default()
    });
    let context_window = section.read("context_window", number(1..=100_000_000));
    let http2 = section.read("http2", word(Http2::WORDS, Http2::from_word));
    let streams_per_connection = section.read("streams_per_connection", number(1..=100_000));
    let headers = section.section("headers").rest(header);
    section.finish();
    Some(Upstream {
        name: name.to_owned(),
        base_url: base_url?,
        api_key: api_key?,
        models: own_models,
        headers,
        quirks,
        context_window,
        http2: http2.unwrap_or(Http2::Auto),
        streams_per_connection: streams_per_connection.unwrap_or(STREAMS_PER_CONNECTION),
        preset: preset.map(|preset| preset.name),
    })
}

/// The name stands before the slash of `upstream/model`, in a header and in metrics.
fn check_name(name: &str, section: &Section<'_>) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(plain) {
        section.fault_here(
            "the name is not made of letters, digits, `-`, `_` and `.`",
            "give it such a name",
        );
    }
}

fn base_url(section: &mut Section<'_>, preset: Option<&Preset>) -> Option<Url> {
    let is_given = section.gives("base_url");
    let written = section.read("base_url", address);
    if is_given {
        return written;
    }
    let Some(preset) = preset else {
        let presets = listed(PRESETS.iter().map(|preset| preset.name));
        section.fault(
            "base_url",
            "it is not known where this upstream is",
            format!("write its address; only {presets} need none"),
        );
        return None;
    };
    Url::parse(preset.base_url).ok()
}

fn api_key(
    section: &mut Section<'_>,
    preset: Option<&Preset>,
    env: &Environment,
) -> Option<ApiKey> {
    let is_given = section.gives("api_key");
    let written = section.read("api_key", written_key);
    if is_given {
        return written;
    }
    let Some(variable) = preset.and_then(|preset| preset.variable) else {
        return Some(ApiKey::None);
    };
    let Some(key) = env.get(variable) else {
        section.fault(
            "api_key",
            format!("the variable `{variable}` is not set"),
            "set it, or write `api_key` (\"\" for none)",
        );
        return None;
    };
    match secret_in(variable, key) {
        Ok(secret) => Some(ApiKey::Fixed(secret)),
        Err(fault) => {
            section.fault("api_key", fault.wrong, fault.remedy);
            None
        }
    }
}

fn written_key(given: &Given) -> Result<ApiKey, Fault> {
    match text(given)?.as_str() {
        // Written as nothing it means none; a variable that turned out empty is a fault, which `secret` tells.
        "" if given.shown => Ok(ApiKey::None),
        "client" => Ok(ApiKey::Client),
        _ => secret(given).map(ApiKey::Fixed),
    }
}

fn header(name: &str, given: &Given) -> Result<(HeaderName, HeaderValue), Fault> {
    if name.eq_ignore_ascii_case("authorization") {
        return Err(Fault::new(
            "the gateway writes this header itself",
            "write the key as `api_key`",
        ));
    }
    any_header(name, given)
}

/// Takes a header that is added to requests; its value may be a secret.
pub(super) fn any_header(name: &str, given: &Given) -> Result<(HeaderName, HeaderValue), Fault> {
    let Ok(header) = HeaderName::try_from(name) else {
        return Err(Fault::new(
            "this is no header name",
            "write one like \"X-Team\"",
        ));
    };
    // They frame the request, and a second opinion about that is how requests are smuggled; or they say how its body and the answer's are
    // written, which is not for the operator to choose: a compressed stream could not be read.
    let framing = [
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    if framing.contains(&header.as_str()) {
        return Err(Fault::new(
            "the gateway writes this header itself",
            "take it out",
        ));
    }
    let Ok(mut value) = HeaderValue::try_from(text(given)?) else {
        return Err(Fault::new(
            "the value holds a character that no header may carry",
            "look for line breaks in it",
        ));
    };
    value.set_sensitive(true);
    Ok((header, value))
}
