//! File and environment become a `Config`, or the list of everything that is wrong with them.

use std::net::SocketAddr;

use super::{
    AllowOverrides, ApiKey, Config, Environment, FilesTarget, Key, Mode, Model, Rag, Search,
    SearchBackend, edge, file,
    keys::{self, Context},
    loading::{Overrides, Purpose},
    models::{self, Names},
    section::Section,
    telemetry,
    upstreams::{self, TurnedOn, Upstreams},
    values::{address, flag, listen, optional_text, text},
};

/// The upstream whose files API `target = "paradigm"` means.
pub(super) const PARADIGM: &str = "paradigm";

/// Reads the whole document, top to bottom; `None` only after a problem was reported.
pub(super) fn read(
    mut root: Section<'_>,
    turned_on: TurnedOn,
    env: &Environment,
    overrides: &Overrides,
) -> Option<Config> {
    let written_listen = root.read("listen", listen);
    let public_url = root.read("public_url", |given| {
        text(given).and_then(|text| {
            if text.is_empty() {
                Ok(None)
            } else {
                address(given).map(Some)
            }
        })
    });
    let default_upstream = root.read("default_upstream", optional_text).flatten();
    let allow_overrides = root
        .read("allow_overrides", file::allow_overrides)
        .unwrap_or(AllowOverrides::All);
    let anonymous = root.read("anonymous", flag).unwrap_or(false);
    let search = file::search(root.section("search"));
    let rag_layer = file::rag(root.section("rag"));
    let rag = Rag::default().with(&rag_layer);
    let stream = file::stream(root.section("stream"));
    let limits = file::limits(root.section("limits"));
    let timeouts = file::timeouts(root.section("timeouts"));
    let retry = file::retry(root.section("retry"));
    let files = file::files(root.section("files"));
    let links = file::links(root.section("links"));
    let tls = edge::tls(root.section("tls"));
    let cors = edge::cors(root.section("cors"));
    let log = file::log(root.section("log"));
    let telemetry = telemetry::telemetry(root.section("telemetry"));

    let upstreams = upstreams::upstreams(&mut root, env, turned_on);
    let drafts = models::drafts(&mut root);
    let names = Names {
        models: drafts.iter().map(|draft| draft.name().to_owned()).collect(),
        upstreams: &upstreams,
        default_upstream: default_upstream.as_deref(),
    };
    let models: Vec<Model> = drafts
        .into_iter()
        .filter_map(|draft| models::model(draft, &names, &rag))
        .collect();
    let keys_file = keys::file(&mut root);
    let asks_for_keys =
        root.gives("keys") || keys_file.is_some() || env.get("GROUNDWIRE_KEY").is_some();
    let context = Context {
        names: &names,
        base: &rag,
        env,
        is_local: search.is_local,
    };
    let keys = keys::keys(&mut root, keys_file, &context);

    let listen = overrides
        .listen
        .or(written_listen)
        .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
    let admin_listen = edge::admin_listen(&mut root, listen);
    if let Some(problem) = file::check_rewriting(&rag_layer, &rag, "rag") {
        root.report(problem);
    }
    if let Some(Err(fault)) = rag
        .rewrite_model
        .as_deref()
        .map(|name| names.check_nameable(name))
    {
        root.fault("rag.rewrite_model", fault.wrong, fault.remedy);
    }
    if let Some(Err(fault)) = default_upstream
        .as_deref()
        .map(|name| names.check_upstream(name))
    {
        root.fault("default_upstream", fault.wrong, fault.remedy);
    }
    if files.target == FilesTarget::Paradigm && !search.is_local {
        check_paradigm(&root, &upstreams);
    }
    if overrides.purpose == Purpose::Serve {
        if upstreams.names.is_empty() {
            upstreams::none_is_on(&root, turned_on);
        }
        // Keys that turned out wrong count: they were meant, and their faults are told.
        if !asks_for_keys && !anonymous {
            check_reach(&root, listen);
        }
    }
    let searches =
        overrides.purpose == Purpose::Search || can_search(&rag, &models, &keys, &allow_overrides);
    let search = backend(&root, search, searches, env);
    root.finish();
    Some(Config {
        listen,
        admin_listen,
        public_url: public_url.flatten(),
        default_upstream,
        allow_overrides,
        anonymous,
        search: search?,
        rag,
        stream,
        limits,
        timeouts,
        retry,
        upstreams: upstreams.right,
        models,
        keys,
        files,
        links,
        tls,
        cors,
        log,
        telemetry,
    })
}

/// Files go to Paradigm with the upstream's own key: there must be such an upstream, and such a key.
fn check_paradigm(root: &Section<'_>, upstreams: &Upstreams) {
    let known = upstreams.names.iter().any(|name| name == PARADIGM);
    let right = upstreams
        .right
        .iter()
        .find(|upstream| upstream.name == PARADIGM);
    let keyed = right.is_none_or(|upstream| matches!(upstream.api_key, ApiKey::Fixed(_)));
    if !known {
        root.fault(
            "files.target",
            "no upstream is called `paradigm`",
            "write `[upstreams.paradigm]`, or `target = \"lighton\"`",
        );
    } else if !keyed {
        root.fault(
            "files.target",
            "the upstream `paradigm` has no key of its own to store files with",
            "write its `api_key`, or `target = \"lighton\"`",
        );
    }
}

/// Refuses a gateway that strangers can use without a key.
fn check_reach(root: &Section<'_>, listen: SocketAddr) {
    if !listen.ip().to_canonical().is_loopback() {
        root.fault(
            "keys",
            format!("no key is asked for, although other machines can reach {listen}"),
            "set GROUNDWIRE_KEY or write `[[keys]]` (`groundwire key NAME` makes one), or else write `anonymous = true`",
        );
    }
}

/// Whether any request could search: by its settings, or because it may ask to.
fn can_search(rag: &Rag, models: &[Model], keys: &[Key], allow_overrides: &AllowOverrides) -> bool {
    let may_set_mode = |allowed: &AllowOverrides| match allowed {
        AllowOverrides::All => true,
        AllowOverrides::None => false,
        AllowOverrides::Only(names) => names.contains("mode"),
    };
    // A key with a search key of its own searches with that one.
    let ours: Vec<&Key> = keys
        .iter()
        .filter(|key| key.search_api_key.is_none())
        .collect();
    if ours.is_empty() && !keys.is_empty() {
        return false;
    }
    if models
        .iter()
        .any(|model| model.rag.mode.is_some_and(|mode| mode != Mode::Off))
    {
        return true;
    }
    if keys.is_empty() {
        return rag.mode != Mode::Off || may_set_mode(allow_overrides);
    }
    ours.into_iter().any(|key| {
        key.rag.mode.unwrap_or(rag.mode) != Mode::Off
            || may_set_mode(key.allow_overrides.as_ref().unwrap_or(allow_overrides))
    })
}

fn backend(
    root: &Section<'_>,
    search: file::Search,
    searches: bool,
    env: &Environment,
) -> Option<Search> {
    let (timeout, cache) = (search.timeout, search.cache);
    if search.is_local {
        if searches && !search.documents.is_dir() {
            root.fault(
                "search.documents",
                format!("there is no folder `{}`", search.documents.display()),
                "make it, or name the one that holds the documents",
            );
        }
        return Some(Search {
            backend: SearchBackend::Local {
                documents: search.documents,
            },
            timeout,
            cache,
        });
    }
    let from_variable = || {
        let key = env.get("LIGHTON_API_KEY")?;
        Some(file::secret_in("LIGHTON_API_KEY", key).map_err(|fault| fault.at("search.api_key")))
    };
    let written = search.api_key.or_else(from_variable);
    let api_key = match written {
        Some(Ok(key)) => Some(key),
        Some(Err(problem)) => {
            if searches {
                root.report(problem);
            }
            None
        }
        None => {
            if searches {
                root.fault(
                    "search.api_key",
                    "the variable `LIGHTON_API_KEY` is not set",
                    "set it, or write `backend = \"local\"` in `[search]`; without any search, write `mode = \"off\"` in `[rag]` and `allow_overrides = false`",
                );
            }
            None
        }
    };
    let backend = SearchBackend::LightOn {
        base_url: search.base_url?,
        api_key,
        requests_per_minute: search.requests_per_minute,
    };
    Some(Search {
        backend,
        timeout,
        cache,
    })
}
