//! File and environment become a `Config`, or the list of everything that is wrong with them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    AllowOverrides, ApiKey, Config, Environment, FilesTarget, Key, Mode, Model, Problem, Problems,
    Rag, Search, SearchBackend,
    document::{self, Table},
    file, keys,
    models::{self, Names},
    reading::Reading,
    section::Section,
    upstreams::{self, TurnedOn, Upstreams},
    values::{address, flag, listen, optional_text, text},
};

/// The upstream whose files API `target = "paradigm"` means.
pub(super) const PARADIGM: &str = "paradigm";

/// Where the file is when nobody says.
const DEFAULT_FILE: &str = "config/groundwire.toml";

/// A configuration and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read; unset: the environment alone told.
    pub file: Option<PathBuf>,
}

/// What the command line says over file and environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overrides {
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// What the settings are for.
    pub purpose: Purpose,
}

/// What the settings are for, which decides what must be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To answer clients: a model provider, and client keys where others can reach the address.
    #[default]
    Serve,
    /// To search only: neither of these, but in any case a key for search.
    Search,
}

impl Config {
    /// Reads the file at `path`, else at `GROUNDWIRE_CONFIG`, else `config/groundwire.toml` if it is there, else the environment alone.
    ///
    /// # Errors
    ///
    /// Tells every problem at once.
    pub fn load(
        path: Option<&Path>,
        env: &Environment,
        overrides: &Overrides,
    ) -> Result<Loaded, Problems> {
        let named = path
            .map(Path::to_path_buf)
            .or_else(|| env.get("GROUNDWIRE_CONFIG").map(PathBuf::from));
        let file =
            named.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|default| default.exists()));
        let Some(file) = file else {
            let config = resolve(Table::new(), TurnedOn::ByKey, env, overrides);
            return Ok(Loaded {
                config: config.map_err(|list| Problems::new("the environment", list))?,
                file: None,
            });
        };
        let name = file.display().to_string();
        let text = std::fs::read_to_string(&file).map_err(|error| {
            let problem = Problem::new(
                &name,
                format!("the file cannot be read ({error})"),
                "mend the path given by --config or GROUNDWIRE_CONFIG",
            );
            Problems::new(&name, vec![problem])
        })?;
        let config =
            resolve_text(&text, env, overrides).map_err(|list| Problems::new(&name, list))?;
        Ok(Loaded {
            config,
            file: Some(file),
        })
    }

    /// Reads `text` as the file.
    ///
    /// # Errors
    ///
    /// Tells every problem at once.
    pub fn parse(text: &str, env: &Environment) -> Result<Self, Problems> {
        resolve_text(text, env, &Overrides::default())
            .map_err(|list| Problems::new("the given text", list))
    }
}

fn resolve_text(
    text: &str,
    env: &Environment,
    overrides: &Overrides,
) -> Result<Config, Vec<Problem>> {
    let table = document::parse(text).map_err(|problem| vec![problem])?;
    resolve(table, TurnedOn::ByName, env, overrides)
}

fn resolve(
    table: Table,
    turned_on: TurnedOn,
    env: &Environment,
    overrides: &Overrides,
) -> Result<Config, Vec<Problem>> {
    let reading = Reading::new(env);
    let config = read(reading.open(table), turned_on, env, overrides);
    let problems = reading.close();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

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
    let log = file::log(root.section("log"));

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
    let asks_for_keys = root.gives("keys") || env.get("GROUNDWIRE_KEY").is_some();
    let keys = keys::keys(&mut root, &names, &rag, env);

    let listen = overrides
        .listen
        .or(written_listen)
        .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
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
        log,
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
    if models
        .iter()
        .any(|model| model.rag.mode.is_some_and(|mode| mode != Mode::Off))
    {
        return true;
    }
    if keys.is_empty() {
        return rag.mode != Mode::Off || may_set_mode(allow_overrides);
    }
    keys.iter().any(|key| {
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
