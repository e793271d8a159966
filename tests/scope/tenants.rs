//! A random configuration: keys of all kinds, models with and without bounds, defaults.

use std::{collections::BTreeSet, fmt::Write as _};

use sha2::{Digest, Sha256};

use crate::{
    lighton::{search_key, some_workspace},
    world::{SEARCH_KEYS, WORKSPACES},
};

/// What an operator wrote, in the words of the contract and not in the gateway's types.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) keys: Vec<Key>,
    pub(crate) models: Vec<Model>,
    pub(crate) base: Layer,
    pub(crate) allow: Allow,
    pub(crate) default_upstream: Option<&'static str>,
    upload_workspace: Option<i64>,
    rest: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// `None`: `"*"`.
    pub(crate) scope: Option<BTreeSet<i64>>,
    pub(crate) opens: bool,
    pub(crate) ending: &'static str,
    /// 0: the gateway's own.
    pub(crate) search_key: usize,
    pub(crate) models: Option<Vec<&'static str>>,
    pub(crate) upstreams: Option<Vec<&'static str>>,
    pub(crate) allow: Option<Allow>,
    pub(crate) layer: Layer,
}

#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) upstream: &'static str,
    pub(crate) model: &'static str,
    pub(crate) fallback: Option<&'static str>,
    pub(crate) layer: Layer,
}

/// Settings of `[rag]`, of a key or of a model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    pub(crate) mode: Option<&'static str>,
    pub(crate) workspaces: Option<Vec<i64>>,
    more: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub(crate) enum Allow {
    All,
    None,
    Only(Vec<&'static str>),
}

/// The upstreams, and the models that each lists.
pub(crate) const UPSTREAMS: [(&str, [&str; 2]); 2] =
    [("a", ["m", "shared"]), ("b", ["n", "shared"])];

const MORE: [&str; 11] = [
    "sources = \"reference\"",
    "sources = \"none\"",
    "citations = true",
    "citations = false",
    "inject_as = \"user\"",
    "on_search_error = \"answer\"",
    "on_no_results = \"refuse\"",
    "min_relevance = 0.4",
    "relevance_scoring = \"none\"",
    "query_from = \"conversation\"",
    "query_from = \"rewrite\"\nrewrite_model = \"b/n\"",
];

impl Setup {
    pub(crate) fn random(rng: &mut fastrand::Rng) -> Self {
        let keys = (0..rng.usize(4..8))
            .map(|number| Key::random(number, rng))
            .collect();
        let models = ["handbook", "board", "tools", "plain"]
            .into_iter()
            .map(|name| Model::random(name, rng))
            .collect();
        let mut rest = String::new();
        let cached = if rng.u8(..5) == 0 { "0s" } else { "60s" };
        let _ = writeln!(
            rest,
            "search.cache_ttl = \"{cached}\"\nsearch.requests_per_minute = 1000000\nretry.attempts = 1\nretry.set_aside_after = 0"
        );
        let _ = writeln!(rest, "log.sources = {}", rng.bool());
        Self {
            keys,
            models,
            base: Layer::random(rng, Some(6)),
            allow: Allow::random(rng),
            default_upstream: rng.bool().then_some("a"),
            upload_workspace: (rng.u8(..4) == 0).then(|| some_workspace(rng)),
            rest,
        }
    }

    /// Another configuration in which the keys are the same texts, and the settings of some of them others.
    pub(crate) fn changed(&self, rng: &mut fastrand::Rng) -> Self {
        let mut next = Self::random(rng);
        next.keys = self
            .keys
            .iter()
            .enumerate()
            .map(|(number, key)| {
                if rng.bool() {
                    key.clone()
                } else {
                    Key::random(number, rng)
                }
            })
            .collect();
        next.rest.clone_from(&self.rest);
        next
    }

    /// The file, for neighbours at these addresses.
    pub(crate) fn file(&self, search: &str, models: &str, collector: Option<&str>) -> String {
        let mut file = format!(
            "search.base_url = \"{search}\"\nsearch.api_key = \"{}\"\nallow_overrides = {}\n{}",
            search_key(0),
            self.allow.toml(),
            self.rest
        );
        if let Some(name) = self.default_upstream {
            let _ = writeln!(file, "default_upstream = \"{name}\"");
        }
        if let Some(collector) = collector {
            let _ = writeln!(file, "telemetry.otlp_endpoint = \"{collector}\"");
        }
        if let Some(id) = self.upload_workspace {
            let _ = writeln!(file, "files.workspace_id = {id}");
        }
        let _ = writeln!(file, "{}", self.base.toml("rag"));
        for (name, models_of) in UPSTREAMS {
            let _ = writeln!(
                file,
                "[upstreams.{name}]\nbase_url = \"{models}/{name}/v1\"\napi_key = \"md-secret-{name}\"\nmodels = {models_of:?}"
            );
        }
        for model in &self.models {
            let _ = writeln!(
                file,
                "[models.{}]\nupstream = \"{}\"\nmodel = \"{}\"",
                model.name, model.upstream, model.model
            );
            if let Some(fallback) = model.fallback {
                let _ = writeln!(file, "fallback = [\"{fallback}\"]");
            }
            let _ = writeln!(file, "{}", model.layer.toml("rag"));
        }
        for key in &self.keys {
            file.push_str(&key.toml());
        }
        file
    }
}

impl Key {
    fn random(number: usize, rng: &mut fastrand::Rng) -> Self {
        let (opens, ending) = match rng.u8(..20) {
            0 => (false, "disabled = true"),
            1 => (false, "expires = \"2020-01-01\""),
            2 => (true, "expires = \"2100-01-01\""),
            _ => (true, ""),
        };
        Self {
            name: format!("key-{number}"),
            scope: (rng.u8(..5) > 0).then(|| some(rng).into_iter().collect()),
            opens,
            ending,
            search_key: if rng.bool() {
                0
            } else {
                rng.usize(..SEARCH_KEYS)
            },
            models: (rng.u8(..6) == 0).then(|| vec!["handbook", "tools", "a/m"]),
            upstreams: (rng.u8(..6) == 0)
                .then(|| vec![*["a", "b"].get(rng.usize(..2)).unwrap_or(&"a")]),
            allow: (rng.u8(..5) == 0).then(|| Allow::random(rng)),
            layer: Layer::random(rng, Some(6)),
        }
    }

    fn toml(&self) -> String {
        let digest: String = Sha256::digest(&self.name)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let scope = match &self.scope {
            None => "\"*\"".to_owned(),
            Some(ids) => format!("{:?}", ids.iter().collect::<Vec<_>>()),
        };
        let mut text = format!(
            "[[keys]]\nname = \"{}\"\nsha256 = \"{digest}\"\nworkspace_id = {scope}\n{}\n",
            self.name, self.ending
        );
        if self.search_key > 0 {
            let _ = writeln!(text, "search_api_key = \"{}\"", search_key(self.search_key));
        }
        if let Some(models) = &self.models {
            let _ = writeln!(text, "models = {models:?}");
        }
        if let Some(upstreams) = &self.upstreams {
            let _ = writeln!(text, "upstreams = {upstreams:?}");
        }
        if let Some(allow) = &self.allow {
            let _ = writeln!(text, "allow_overrides = {}", allow.toml());
        }
        text.push_str(&self.layer.toml("rag"));
        text
    }
}

impl Model {
    fn random(name: &'static str, rng: &mut fastrand::Rng) -> Self {
        let upstream = if rng.bool() { "a" } else { "b" };
        Self {
            name,
            upstream,
            model: "real",
            fallback: (rng.u8(..3) == 0)
                .then(|| if rng.bool() { "board" } else { "b/n" })
                .filter(|fallback| *fallback != name),
            layer: Layer {
                mode: if name == "tools" {
                    Some("tool")
                } else {
                    mode(rng)
                },
                ..Layer::random(rng, Some(2))
            },
        }
    }
}

impl Layer {
    /// Bounds or defaults stand in one of `rarity` layers.
    fn random(rng: &mut fastrand::Rng, rarity: Option<u8>) -> Self {
        let mut more = Vec::new();
        for _ in 0..rng.usize(..3) {
            let one = MORE[rng.usize(..MORE.len())];
            let name = one.split(' ').next();
            if more
                .iter()
                .all(|other: &&str| other.split(' ').next() != name)
            {
                more.push(one);
            }
        }
        Self {
            mode: mode(rng),
            workspaces: rarity
                .filter(|rarity| rng.u8(..*rarity) == 0)
                .map(|_| some(rng)),
            more,
        }
    }

    fn toml(&self, path: &str) -> String {
        let mut text = String::new();
        if let Some(mode) = self.mode {
            let _ = writeln!(text, "{path}.mode = \"{mode}\"");
        }
        if let Some(ids) = &self.workspaces {
            let _ = writeln!(text, "{path}.workspace_id = {ids:?}");
        }
        for one in self.more.iter().flat_map(|more| more.lines()) {
            let _ = writeln!(text, "{path}.{one}");
        }
        text
    }
}

impl Allow {
    fn random(rng: &mut fastrand::Rng) -> Self {
        match rng.u8(..12) {
            0 => Self::None,
            1 => Self::Only(vec!["mode", "max_results", "query"]),
            2 => Self::Only(vec!["workspace_id", "mode", "file_id"]),
            _ => Self::All,
        }
    }

    pub(crate) fn allows(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Only(keys) => keys.contains(&key),
        }
    }

    fn toml(&self) -> String {
        match self {
            Self::All => "true".to_owned(),
            Self::None => "false".to_owned(),
            Self::Only(keys) => format!("{keys:?}"),
        }
    }
}

fn mode(rng: &mut fastrand::Rng) -> Option<&'static str> {
    ["inject", "tool", "off"].get(rng.usize(..12)).copied()
}

/// One to four workspaces, each once.
pub(crate) fn some(rng: &mut fastrand::Rng) -> Vec<i64> {
    let mut all = WORKSPACES;
    rng.shuffle(&mut all);
    all[..rng.usize(1..5)].to_vec()
}
