//! `[[keys]]` and `GROUNDWIRE_KEY`: who may ask.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

use super::{
    Environment, Key, KeyLimits, KeyScope, Rag,
    document::Value,
    file::{allow_overrides, check_rewriting, rag},
    given::Given,
    models::Names,
    problem::{Fault, Problem},
    section::Section,
    values::{self, number, some, text, workspace},
};

/// Reads `[[keys]]`, and makes one more of `GROUNDWIRE_KEY`; `base` is `[rag]`.
pub(super) fn keys(
    root: &mut Section<'_>,
    names: &Names<'_>,
    base: &Rag,
    env: &Environment,
) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    let mut owners: HashMap<[u8; 32], String> = HashMap::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for mut section in root.list("keys") {
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
        let models = section.read("models", some(values::name, "leave it out for every model"));
        let upstreams = section.read(
            "upstreams",
            some(values::name, "leave it out for every upstream"),
        );
        let allow_overrides = section.read("allow_overrides", allow_overrides);
        let limits = limits(&mut section);
        let rag = rag(section.section("rag"));
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
        if let Some(problem) = check_rewriting(&rag, base, &section.path_of("rag")) {
            section.report(problem);
        }
        if let Some(name) = name.as_ref().filter(|name| !taken.insert((*name).clone())) {
            section.fault(
                "name",
                format!("two keys are called `{name}`"),
                "give each its own name",
            );
        }
        for digest in digests.iter().flatten() {
            if let Some(owner) = owners.insert(*digest, name.clone().unwrap_or_default()) {
                section.fault(
                    "sha256",
                    format!("`{owner}` has the same digest"),
                    "make a key of its own with `groundwire key NAME`",
                );
            }
        }
        section.finish();
        if let (Some(name), Some(sha256), Some(scope)) = (name, digests, scope) {
            keys.push(Key {
                name,
                sha256,
                scope,
                models,
                upstreams,
                allow_overrides,
                limits,
                rag,
            });
        }
    }
    if let Some(key) = from_variable(env, &owners) {
        if taken.contains(&key.name) {
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

/// Makes a key with every workspace of `GROUNDWIRE_KEY`.
///
/// The client commands read the same variable. A key that the file knows keeps the scope that the file gives it: who runs `ask` and `serve` in
/// one shell would otherwise open every workspace to that key.
fn from_variable(env: &Environment, owners: &HashMap<[u8; 32], String>) -> Option<Key> {
    let digest: [u8; 32] = Sha256::digest(env.get("GROUNDWIRE_KEY")?.trim()).into();
    (!owners.contains_key(&digest)).then(|| Key {
        name: "default".to_owned(),
        sha256: vec![digest],
        scope: KeyScope::Every,
        models: None,
        upstreams: None,
        allow_overrides: None,
        limits: KeyLimits::default(),
        rag: super::RagLayer::default(),
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
