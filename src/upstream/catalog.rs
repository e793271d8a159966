//! Which model lives where: public names, `upstream/model`, and what upstreams list themselves.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::Mutex;
use tracing::warn;

use super::{Client, Error, Resolved, Route, Upstream};
use crate::{
    config::{self, Config, Model, RagLayer},
    openai::{Json, Object},
};

/// How long an upstream's list is believed.
const FRESH: Duration = Duration::from_secs(300);

/// How long the last good list stays in use while the upstream gives no new one.
const STALE: Duration = Duration::from_secs(3600);

/// How long a failed list is not asked for again.
const FAILED: Duration = Duration::from_secs(15);

/// How long an upstream may take to list its models.
const PATIENCE: Duration = Duration::from_secs(4);

/// The longest name of a model, in bytes: resource names of clouds, the longest in use, are shorter.
const NAME_BYTES: usize = 512;

/// What a caller may name; `None` is everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed<'a> {
    /// Models, as clients write them.
    pub models: Option<&'a [String]>,
    /// Upstreams by name.
    pub upstreams: Option<&'a [String]>,
}

impl Allowed<'_> {
    fn model(&self, asked: &str, upstream: &str, model: &str) -> bool {
        self.models.is_none_or(|models| {
            models.iter().any(|name| {
                name == asked
                    || name
                        .strip_prefix(upstream)
                        .and_then(|rest| rest.strip_prefix('/'))
                        == Some(model)
            })
        })
    }

    fn upstream(&self, name: &str) -> bool {
        self.upstreams
            .is_none_or(|upstreams| upstreams.iter().any(|allowed| allowed == name))
    }
}

/// Why a model has no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Nothing is called so.
    #[error("no model is called `{model}`")]
    Unknown {
        /// What was asked for.
        model: String,
        /// Names that the caller may use and that look like it, closest first.
        close: Vec<String>,
    },
    /// The caller's key does not reach it.
    #[error("the key may not use the model `{model}`")]
    NotAllowed {
        /// What was asked for.
        model: String,
    },
}

/// A model as it is listed.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What a client writes.
    pub id: String,
    /// The whole entry, extra fields untouched.
    pub json: Json,
    upstream: String,
    context_window: Option<u32>,
}

/// Every model that can be named.
#[derive(Debug)]
pub struct Catalog {
    upstreams: Vec<Arc<Upstream>>,
    lists: Vec<Arc<Mutex<List>>>,
    models: Vec<Model>,
    default_upstream: Option<String>,
    client: Client,
    started: u64,
}

#[derive(Debug, Default)]
struct List {
    models: Arc<Vec<Listed>>,
    good: Option<Instant>,
    failed: Option<Instant>,
}

impl Catalog {
    /// The catalog of what `config` names, asking upstreams through `client`; what is known of upstreams that are the same as `before` stays known.
    pub fn new(config: &Config, client: Client, before: Option<&Self>) -> Self {
        let known = |settings: &config::Upstream| {
            let before = before?;
            let mut pairs = before.upstreams.iter().zip(&before.lists);
            let (upstream, list) = pairs.find(|(known, _)| known.settings == *settings)?;
            Some((upstream.under(&config.retry), Arc::clone(list)))
        };
        let (upstreams, lists): (Vec<_>, Vec<_>) = config
            .upstreams
            .iter()
            .map(|settings| {
                known(settings).unwrap_or_else(|| {
                    let upstream = Upstream::new(settings.clone(), &config.retry);
                    (Arc::new(upstream), Arc::default())
                })
            })
            .unzip();
        let only = match upstreams.as_slice() {
            [only] => Some(only.name().to_owned()),
            _ => None,
        };
        Self {
            lists,
            models: config.models.clone(),
            default_upstream: config.default_upstream.clone().or(only),
            client,
            upstreams,
            started: before.map_or_else(crate::openai::unix_seconds, |before| before.started),
        }
    }

    /// The configured upstreams, in order.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Finds the place of `model` for a caller who may name what `allowed` says.
    pub async fn resolve(&self, model: &str, allowed: Allowed<'_>) -> Result<Resolved, Unresolved> {
        if !is_name(model) {
            return Err(Unresolved::Unknown {
                model: model.to_owned(),
                close: Vec::new(),
            });
        }
        let refused = || Unresolved::NotAllowed {
            model: model.to_owned(),
        };
        if let Some(named) = self.models.iter().find(|named| named.name == model) {
            let route = self
                .named_route(named)
                .await
                .filter(|route| allowed.upstream(route.upstream.name()));
            let route = route
                .filter(|route| allowed.model(model, route.upstream.name(), &route.model))
                .ok_or_else(refused)?;
            let mut fallbacks = Vec::new();
            for name in &named.fallback {
                fallbacks.extend(
                    self.fallback_route(name)
                        .await
                        .filter(|route| allowed.upstream(route.upstream.name())),
                );
            }
            return Ok(Resolved { route, fallbacks });
        }
        let Some(route) = self.unnamed_route(model, allowed).await else {
            let close = self.close_matches(model, allowed).await;
            return Err(Unresolved::Unknown {
                model: model.to_owned(),
                close,
            });
        };
        let upstream = route.upstream.name();
        if !allowed.upstream(upstream) || !allowed.model(model, upstream, &route.model) {
            return Err(refused());
        }
        Ok(Resolved {
            route,
            fallbacks: Vec::new(),
        })
    }

    /// Whether `model` is configured, or listed as far as lists are here; nothing is fetched for it.
    pub fn is_listed(&self, model: &str) -> bool {
        let lists = |upstream: &Upstream, list: &Mutex<List>, model: &str| {
            let written = upstream.settings.models.as_ref();
            written.is_some_and(|names| names.iter().any(|name| name == model))
                || list
                    .try_lock()
                    .is_ok_and(|list| list.models.iter().any(|entry| entry.id == model))
        };
        self.models.iter().any(|named| named.name == model)
            || self
                .upstreams
                .iter()
                .zip(&self.lists)
                .any(|(upstream, list)| {
                    let plain = model
                        .strip_prefix(upstream.name())
                        .and_then(|rest| rest.strip_prefix('/'));
                    lists(upstream, list, model)
                        || plain.is_some_and(|plain| lists(upstream, list, plain))
                })
    }

    /// Everything that the caller can name: the configured names first, then each upstream's own list.
    ///
    /// An id that an earlier upstream lists too is listed as `upstream/id`.
    pub async fn list(&self, allowed: Allowed<'_>) -> Vec<Listed> {
        let mut listed: Vec<Listed> = Vec::new();
        for named in self
            .models
            .iter()
            .filter(|named| allowed.upstream(&named.upstream))
        {
            if allowed.model(&named.name, &named.upstream, &named.model) {
                let json = json!({"id": named.name, "object": "model", "created": self.started, "owned_by": "groundwire"});
                let upstream = named.upstream.clone();
                listed.push(Listed {
                    id: named.name.clone(),
                    json: Json::of(&json),
                    upstream,
                    context_window: named.context_window,
                });
            }
        }
        let lists = join_all(
            self.upstreams
                .iter()
                .zip(&self.lists)
                .map(|(upstream, list)| self.models_of(upstream, list)),
        )
        .await;
        let mut seen: std::collections::HashSet<String> =
            listed.iter().map(|entry| entry.id.clone()).collect();
        for entry in lists
            .iter()
            .flat_map(|list| list.iter())
            .filter(|entry| allowed.upstream(&entry.upstream))
        {
            let mut entry = entry.clone();
            let plain = entry.id.clone();
            if seen.contains(&plain) {
                entry.id = format!("{}/{plain}", entry.upstream);
                let Some(mut object) = Object::parse(&entry.json) else {
                    continue;
                };
                object.set("id", Json::of(&entry.id));
                entry.json = object.to_json();
            }
            if allowed.model(&entry.id, &entry.upstream, &plain) && seen.insert(entry.id.clone()) {
                listed.push(entry);
            }
        }
        listed
    }

    /// The context window of the model of `route` by its upstream's list, which is asked for where it is not here.
    pub async fn window(&self, route: &Route) -> Option<u32> {
        let (upstream, list) = self.upstream(route.upstream.name())?;
        let models = self.models_of(&upstream, list).await;
        let model = models.iter().find(|entry| entry.id == route.model)?;
        model.context_window
    }

    async fn named_route(&self, named: &Model) -> Option<Route> {
        let (upstream, list) = self.upstream(&named.upstream)?;
        let known = known_window(list, &named.model).await;
        Some(Route {
            context_window: named
                .context_window
                .or(upstream.settings.context_window)
                .or(known),
            upstream,
            model: named.model.clone(),
            min_completion_tokens: named.min_completion_tokens,
            rag: named.rag.clone(),
        })
    }

    async fn fallback_route(&self, name: &str) -> Option<Route> {
        if let Some(named) = self.models.iter().find(|named| named.name == name) {
            return self.named_route(named).await;
        }
        self.prefixed_route(name).await
    }

    async fn prefixed_route(&self, model: &str) -> Option<Route> {
        let (prefix, rest) = model.split_once('/')?;
        if rest.is_empty() {
            return None;
        }
        let (upstream, list) = self.upstream(prefix)?;
        Some(plain_route(upstream, list, rest).await)
    }

    async fn unnamed_route(&self, model: &str, allowed: Allowed<'_>) -> Option<Route> {
        if let Some(route) = self.prefixed_route(model).await {
            return Some(route);
        }
        // With one upstream there is nowhere else to go, so its list need not be asked for.
        if let ([only], [list]) = (self.upstreams.as_slice(), self.lists.as_slice())
            && self.default_upstream.as_deref() == Some(only.name())
        {
            return Some(plain_route(Arc::clone(only), list, model).await);
        }
        let reachable: Vec<_> = self
            .upstreams
            .iter()
            .zip(&self.lists)
            .filter(|(upstream, _)| allowed.upstream(upstream.name()))
            .collect();
        // One after the other: an upstream behind the first that has the model is neither asked nor waited for.
        for (upstream, list) in &reachable {
            let models = self.models_of(upstream, list).await;
            if models.iter().any(|entry| entry.id == model) {
                return Some(plain_route(Arc::clone(upstream), list, model).await);
            }
        }
        let (upstream, list) = self.upstream(self.default_upstream.as_deref()?)?;
        Some(plain_route(upstream, list, model).await)
    }

    fn upstream(&self, name: &str) -> Option<(Arc<Upstream>, &Mutex<List>)> {
        let found = self
            .upstreams
            .iter()
            .zip(&self.lists)
            .find(|(upstream, _)| upstream.name() == name);
        found.map(|(upstream, list)| (Arc::clone(upstream), list.as_ref()))
    }

    async fn close_matches(&self, model: &str, allowed: Allowed<'_>) -> Vec<String> {
        close_to(
            model,
            self.list(allowed).await.into_iter().map(|entry| entry.id),
        )
    }

    /// Asks an upstream now for its models, whatever is remembered; returns how many it lists.
    pub async fn ask(&self, upstream: &Arc<Upstream>) -> Result<usize, Error> {
        Ok(self.fetch(upstream).await?.len())
    }

    /// The models of one upstream: what the operator wrote, else its own list, asked at most once at a time.
    async fn models_of(&self, upstream: &Arc<Upstream>, list: &Mutex<List>) -> Arc<Vec<Listed>> {
        let mut list = list.lock().await;
        if let Some(names) = &upstream.settings.models {
            if list.good.is_none() {
                let entry = |id: &String| json!({"id": id, "object": "model", "created": self.started, "owned_by": upstream.name()});
                let listed = names
                    .iter()
                    .filter_map(|id| listed(upstream, Json::of(&entry(id))));
                list.models = Arc::new(listed.collect());
                list.good = Some(Instant::now());
            }
            return Arc::clone(&list.models);
        }
        let age = |at: Option<Instant>| at.map(|at| at.elapsed());
        if age(list.good).is_some_and(|age| age < FRESH)
            || age(list.failed).is_some_and(|age| age < FAILED)
        {
            return Arc::clone(&list.models);
        }
        match self.fetch(upstream).await {
            Ok(models) => {
                *list = List {
                    models: Arc::new(models),
                    good: Some(Instant::now()),
                    failed: None,
                };
            }
            Err(error) => {
                warn!(upstream.name = upstream.name(), error = %error, "upstream `{}` does not list its models", upstream.name());
                list.failed = Some(Instant::now());
                if age(list.good).is_none_or(|age| age > STALE) {
                    list.models = Arc::default();
                }
            }
        }
        Arc::clone(&list.models)
    }

    async fn fetch(&self, upstream: &Arc<Upstream>) -> Result<Vec<Listed>, Error> {
        let body = self.client.get(upstream, "/models", PATIENCE).await?;
        let nonsense = || Error::Invalid {
            upstream: upstream.name().to_owned(),
            detail: "a list of models without `data`".into(),
        };
        let json = Json::parse(body).map_err(|_| nonsense())?;
        // `{"data": [...]}`; some servers send the bare list.
        let items = match Object::parse(&json) {
            Some(object) => object.value("data").and_then(Json::items),
            None => json.items(),
        };
        Ok(items
            .ok_or_else(nonsense)?
            .into_iter()
            .filter_map(|item| listed(upstream, item))
            .collect())
    }
}

/// Whether a model can be called so: what no upstream calls a model is not sent to one, nor written into a header or the log.
fn is_name(model: &str) -> bool {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    model.len() <= NAME_BYTES && !model.contains(odd)
}

/// The three of `names` that look most like `model`, closest first.
pub fn close_to(model: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let wanted = model.to_lowercase();
    let mut scored: Vec<(f64, String)> = names
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
        .filter(|(score, _)| *score > 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

async fn plain_route(upstream: Arc<Upstream>, list: &Mutex<List>, model: &str) -> Route {
    let known = known_window(list, model).await;
    Route {
        context_window: upstream.settings.context_window.or(known),
        upstream,
        model: model.to_owned(),
        min_completion_tokens: 0,
        rag: RagLayer::default(),
    }
}

/// The context window of `model` by the list that is already here; no list is fetched for it.
async fn known_window(list: &Mutex<List>, model: &str) -> Option<u32> {
    let models = Arc::clone(&list.try_lock().ok()?.models);
    models
        .iter()
        .find(|entry| entry.id == model)?
        .context_window
}

/// Reads an entry of a list. One without `id` is named by `technical_name`, then `name`: Paradigm's own shape.
fn listed(upstream: &Upstream, item: Json) -> Option<Listed> {
    let mut object = Object::parse(&item)?;
    let named = ["id", "technical_name", "name"]
        .iter()
        .find_map(|key| object.read_value::<String>(key).filter(|id| !id.is_empty()))?;
    // OpenRouter-style feeds say `context_length` (Inceptron), vLLM says `max_model_len`.
    let window = ["context_window", "context_length", "max_model_len"]
        .iter()
        .find_map(|key| object.read_value::<u32>(key));
    let defaults = [
        ("id", json!(named)),
        ("object", json!("model")),
        ("created", json!(0)),
        ("owned_by", json!(upstream.name())),
    ];
    for (key, value) in defaults {
        if object.value(key).is_none_or(Json::is_null) {
            object.set(key, Json::of(&value));
        }
    }
    Some(Listed {
        id: named,
        json: object.to_json(),
        upstream: upstream.name().to_owned(),
        context_window: window,
    })
}
