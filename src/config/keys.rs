//! `[[keys]]`, here and in `keys_file`, and `GROUNDWIRE_KEY`: who may ask.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

use super::{
    Environment, Key, KeyLimits, KeyScope, Rag,
    document::{self, Table, Value},
    file::{allow_overrides, check_rewriting, rag, search_key},
    given::Given,
    models::Names,
    problem::{Fault, Problem},
    section::Section,
    values::{self, number, optional_text, some, text, workspace},
};

/// What a key is read against.
pub(super) struct Context<'c> {
    pub(super) names: &'c Names<'c>,
    /// `[rag]`.
    pub(super) base: &'c Rag,
    pub(super) env: &'c Environment,
    /// Whether a folder is searched, which takes no key.
    pub(super) is_local: bool,
}

/// Opens `keys_file`, where one is named; what is wrong with it is reported.
pub(super) fn file<'r>(root: &mut Section<'r>) -> Option<Section<'r>> {
    let path = root.read("keys_file", optional_text).flatten()?;
    let path = root.beside(&path);
    let unread = |error: &dyn std::fmt::Display| {
        root.fault(
            "keys_file",
            format!("the file `{}` cannot be read ({error})", path.display()),
            "mend the path, or write the file: `groundwire key NAME` prints what belongs there",
        );
    };
    let contents = root.contents(&path).inspect_err(|error| unread(error));
    // Whoever names a file wants keys to be asked for, whatever is wrong with it.
    let contents = contents.unwrap_or_default();
    let text = std::str::from_utf8(&contents).inspect_err(|error| unread(error));
    let table = document::parse(text.unwrap_or_default()).unwrap_or_else(|problem| {
        root.report(Problem {
            key: format!("{}: {}", path.display(), problem.key),
            ..problem
        });
        Table::new()
    });
    Some(root.document(&path, table))
}

/// Reads `[[keys]]` here and in `file`, and makes one more of `GROUNDWIRE_KEY`.
pub(super) fn keys(
    root: &mut Section<'_>,
    file: Option<Section<'_>>,
    context: &Context<'_>,
) -> Vec<Key> {
    let mut seen = Seen::default();
    let mut keys: Vec<Key> = Vec::new();
    for section in root.list("keys") {
        keys.extend(key(section, context, &mut seen));
    }
    if let Some(mut file) = file {
        let sections = file.list("keys");
        // A file that was emptied by mistake must not open the gateway to everybody.
        if sections.is_empty() {
            file.fault(
                "keys",
                "the file holds no key",
                "`groundwire key NAME` makes one; without a file of keys leave out `keys_file`",
            );
        }
        for section in sections {
            keys.extend(key(section, context, &mut seen));
        }
        file.finish();
    }
    if let Some(key) = from_variable(context.env, &seen.owners) {
        if seen.names.contains(&key.name) {
            root.fault(
                "keys",
                format!(
                    "a key is called `{}`, as the one from GROUNDWIRE_KEY is",
                    key.name
                ),
                "give it another name",
            );
        }
        keys.push(key);
    }
    keys
}

/// The keys that were read before.
#[derive(Default)]
struct Seen {
    owners: HashMap<[u8; 32], String>,
    names: BTreeSet<String>,
}

fn key(mut section: Section<'_>, context: &Context<'_>, seen: &mut Seen) -> Option<Key> {
    let name = required(
        &mut section,
        "name",
        values::name,
        "give it a name, for the log",
    );
    let digests = required(
        &mut section,
        "sha256",
        digests,
        "`groundwire key NAME` makes a key and prints its digest",
    );
    let scope = required(
        &mut section,
        "workspace_id",
        scope,
        "list the workspaces, or write \"*\" for every one",
    );
    let expires = section.read("expires", values::moment);
    let disabled = section.read("disabled", values::flag).unwrap_or(false);
    let search_api_key = section.read("search_api_key", search_key);
    if search_api_key.is_some() && context.is_local {
        section.fault(
            "search_api_key",
            "the folder of `backend = \"local\"` is searched without a key",
            "leave it out",
        );
    }
    let models = section.read("models", some(values::name, "leave it out for every model"));
    let upstreams = section.read(
        "upstreams",
        some(values::name, "leave it out for every upstream"),
    );
    let allow_overrides = section.read("allow_overrides", allow_overrides);
    let limits = limits(&mut section);
    let rag = rag(section.section("rag"));
    let names = context.names;
    report_unknown(&section, "models", models.as_deref(), |name| {
        names.check_nameable(name)
    });
    report_unknown(&section, "upstreams", upstreams.as_deref(), |name| {
        names.check_upstream(name)
    });
    report_unknown(
        &section,
        "rag.rewrite_model",
        rag.rewrite_model.as_slice().into(),
        |name| names.check_nameable(name),
    );
    if let Some(problem) = check_rewriting(&rag, context.base, &section.path_of("rag")) {
        section.report(problem);
    }
    report_taken(&section, name.as_deref(), digests.as_deref(), seen);
    section.finish();
    Some(Key {
        name: name?,
        sha256: digests?,
        expires,
        disabled,
        scope: scope?,
        search_api_key,
        models,
        upstreams,
        allow_overrides,
        limits,
        rag,
    })
}

fn limits(section: &mut Section<'_>) -> KeyLimits {
    let count = || number(1..=1_000_000_000);
    KeyLimits {
        requests_per_minute: section.read("requests_per_minute", count()),
        searches_per_minute: section.read("searches_per_minute", count()),
        tokens_per_minute: section.read("tokens_per_minute", count()),
        concurrent_requests: section.read("concurrent_requests", number(1..=1_000_000)),
    }
}

/// Reports a name or a digest that an earlier key has.
fn report_taken(
    section: &Section<'_>,
    name: Option<&str>,
    digests: Option<&[[u8; 32]]>,
    seen: &mut Seen,
) {
    if let Some(name) = name.filter(|name| !seen.names.insert((*name).to_owned())) {
        section.fault(
            "name",
            format!("two keys are called `{name}`"),
            "give each its own name",
        );
    }
    for digest in digests.into_iter().flatten() {
        let name = name.unwrap_or_default().to_owned();
        if let Some(owner) = seen.owners.insert(*digest, name) {
            section.fault(
                "sha256",
                format!("`{owner}` has the same digest"),
                "make a key of its own with `groundwire key NAME`",
            );
        }
    }
}

/// Makes a key with every workspace of `GROUNDWIRE_KEY`.
///
/// The client commands read the same variable. A key that the file knows keeps the scope that the file gives it: who runs `ask` and `serve` in
/// one shell would otherwise open every workspace to that key.
fn from_variable(env: &Environment, owners: &HashMap<[u8; 32], String>) -> Option<Key> {
    let digest: [u8; 32] = Sha256::digest(env.get("GROUNDWIRE_KEY")?.trim()).into();
    (!owners.contains_key(&digest)).then(|| Key {
        name: "default".to_owned(),
        sha256: vec![digest],
        expires: None,
        disabled: false,
        scope: KeyScope::Every,
        search_api_key: None,
        models: None,
        upstreams: None,
        allow_overrides: None,
        limits: KeyLimits::default(),
        rag: super::RagLayer::default(),
    })
}

fn required<T>(
    section: &mut Section<'_>,
    key: &'static str,
    as_setting: impl FnOnce(&Given) -> Result<T, Fault>,
    remedy: &str,
) -> Option<T> {
    if !section.gives(key) {
        section.fault(key, "it is missing", remedy);
    }
    section.read(key, as_setting)
}

fn report_unknown(
    section: &Section<'_>,
    key: &str,
    names: Option<&[String]>,
    check: impl Fn(&str) -> Result<(), Fault>,
) {
    for fault in names
        .into_iter()
        .flatten()
        .filter_map(|name| check(name).err())
    {
        section.report(Problem::new(
            section.path_of(key),
            fault.wrong,
            fault.remedy,
        ));
    }
}

fn digests(given: &Given) -> Result<Vec<[u8; 32]>, Fault> {
    some(
        digest,
        "`groundwire key NAME` makes a key and prints its digest",
    )(given)
}

/// Takes 64 hexadecimal digits. What stands there instead is never shown: it may be the key itself.
fn digest(given: &Given) -> Result<[u8; 32], Fault> {
    let fault = || {
        Fault::new(
            "this is no SHA-256 digest",
            "write its 64 hexadecimal digits; `groundwire key NAME` prints them",
        )
    };
    let text = text(given).map_err(|_| fault())?;
    let mut digest = [0; 32];
    let digits: Option<Vec<u8>> = text
        .trim()
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits
        .filter(|digits| digits.len() == 64)
        .ok_or_else(fault)?;
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    }
    Ok(digest)
}

fn scope(given: &Given) -> Result<KeyScope, Fault> {
    match &given.value {
        Value::Text(text) if text == "*" => Ok(KeyScope::Every),
        Value::Text(text) if !text.contains(|c: char| c.is_ascii_digit()) => Err(Fault::new(
            format!("{} is no list of workspaces", given.quoted()),
            "list their numbers, or write \"*\" for every one",
        )),
        _ => some(
            workspace,
            "list the workspaces, or write \"*\" for every one",
        )(given)
        .map(|ids| KeyScope::Only(ids.into_iter().collect())),
    }
}
