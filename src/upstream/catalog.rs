//! Which model lives where: public names, `upstream/model`, and what upstreams list themselves.

use std::sync::Arc;

use futures_util::future::join_all;
use http::HeaderValue;
use serde_json::json;

pub use super::lists::Listed;
use super::{
    Client, Error, Resolved, Route, Upstream,
    lists::{self, List, Unlisted},
};
use crate::{
    config::{self, ApiKey, Config, Model, RagLayer},
    openai::{Json, Object},
    outbound,
};

/// The longest name of a model, in bytes: resource names of clouds, the longest in use, are shorter.
const NAME_BYTES: usize = 512;

/// What a caller may name; `None` is everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed<'a> {
    /// Models, as clients write them.
    pub models: Option<&'a [String]>,
    /// Upstreams by name.
    pub upstreams: Option<&'a [String]>,
    /// The caller's own `Authorization`, for upstreams that take it and list nothing without.
    pub authorization: Option<&'a HeaderValue>,
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

/// Every model that can be named.
#[derive(Debug)]
pub struct Catalog {
    upstreams: Vec<Arc<Upstream>>,
    lists: Vec<Arc<List>>,
    models: Vec<Model>,
    default_upstream: Option<String>,
    client: Client,
    started: u64,
}

impl Catalog {
    /// The catalog of what `config` names, asking upstreams through `client`; what is known of upstreams that are the same as `before` stays known.
    pub fn new(
        config: &Config,
        client: Client,
        before: Option<&Self>,
    ) -> Result<Self, outbound::Unusable> {
        let known = |settings: &config::Upstream| {
            let before = before?;
            let mut pairs = before.upstreams.iter().zip(&before.lists);
            let (upstream, list) = pairs.find(|(known, _)| known.settings == *settings)?;
            Some((upstream.under(&config.retry), Arc::clone(list)))
        };
        let started = before.map_or_else(crate::openai::unix_seconds, |before| before.started);
        let (mut upstreams, mut lists) = (Vec::new(), Vec::new());
        for settings in &config.upstreams {
            let (upstream, list) = match known(settings) {
                Some(known) => known,
                None => {
                    let upstream = Upstream::new(settings.clone(), &config.retry)?;
                    let written = settings.models.as_ref();
                    let list = written.map_or_else(List::default, |names| {
                        List::written(names, upstream.name(), started)
                    });
                    (Arc::new(upstream), Arc::new(list))
                }
            };
            upstreams.push(upstream);
            lists.push(list);
        }
        let only = match upstreams.as_slice() {
            [only] => Some(only.name().to_owned()),
            _ => None,
        };
        Ok(Self {
            lists,
            models: config.models.clone(),
            default_upstream: config.default_upstream.clone().or(only),
            client,
            upstreams,
            started,
        })
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
                .filter(|route| allowed.upstream(route.upstream.name()));
            let route = route
                .filter(|route| allowed.model(model, route.upstream.name(), &route.model))
                .ok_or_else(refused)?;
            let mut fallbacks = Vec::new();
            for name in &named.fallback {
                fallbacks.extend(
                    self.fallback_route(name)
                        .filter(|route| allowed.upstream(route.upstream.name())),
                );
            }
            return Ok(Resolved { route, fallbacks });
        }
        let Some(route) = self.unnamed_route(model, allowed).await else {
            // It exists, where this caller may not go: that is another answer than a name that nothing has.
            if self.is_listed_beyond(model, allowed).await {
                return Err(refused());
            }
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
        let lists = |upstream: &Upstream, list: &List, model: &str| {
            let written = upstream.settings.models.as_ref();
            written.is_some_and(|names| names.iter().any(|name| name == model))
                || list
                    .known()
                    .is_some_and(|models| models.iter().any(|entry| entry.id == model))
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
                .map(|(upstream, list)| self.models_of(upstream, list, allowed)),
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
        let models = self.models_of(&upstream, list, Allowed::default()).await;
        let model = models.iter().find(|entry| entry.id == route.model)?;
        model.context_window
    }

    fn named_route(&self, named: &Model) -> Option<Route> {
        let (upstream, list) = self.upstream(&named.upstream)?;
        let known = known_window(list, &named.model);
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

    fn fallback_route(&self, name: &str) -> Option<Route> {
        if let Some(named) = self.models.iter().find(|named| named.name == name) {
            return self.named_route(named);
        }
        self.prefixed_route(name)
    }

    fn prefixed_route(&self, model: &str) -> Option<Route> {
        let (prefix, rest) = model.split_once('/')?;
        if rest.is_empty() {
            return None;
        }
        let (upstream, list) = self.upstream(prefix)?;
        Some(plain_route(upstream, list, rest))
    }

    async fn unnamed_route(&self, model: &str, allowed: Allowed<'_>) -> Option<Route> {
        if let Some(route) = self.prefixed_route(model) {
            return Some(route);
        }
        // With one upstream there is nowhere else to go, so its list need not be asked for.
        if let ([only], [list]) = (self.upstreams.as_slice(), self.lists.as_slice())
            && self.default_upstream.as_deref() == Some(only.name())
        {
            return Some(plain_route(Arc::clone(only), list, model));
        }
        let reachable: Vec<_> = self
            .upstreams
            .iter()
            .zip(&self.lists)
            .filter(|(upstream, _)| allowed.upstream(upstream.name()))
            .collect();
        // One after the other: an upstream behind the first that has the model is neither asked nor waited for.
        for (upstream, list) in &reachable {
            let models = self.models_of(upstream, list, allowed).await;
            if models.iter().any(|entry| entry.id == model) {
                return Some(plain_route(Arc::clone(upstream), list, model));
            }
        }
        let (upstream, list) = self.upstream(self.default_upstream.as_deref()?)?;
        Some(plain_route(upstream, list, model))
    }

    /// Whether an upstream that the caller does not reach lists `model`.
    async fn is_listed_beyond(&self, model: &str, allowed: Allowed<'_>) -> bool {
        let beyond = self
            .upstreams
            .iter()
            .zip(&self.lists)
            .filter(|(upstream, _)| !allowed.upstream(upstream.name()));
        let lists =
            join_all(beyond.map(|(upstream, list)| self.models_of(upstream, list, allowed))).await;
        lists
            .iter()
            .any(|models| models.iter().any(|entry| entry.id == model))
    }

    async fn models_of(
        &self,
        upstream: &Arc<Upstream>,
        list: &Arc<List>,
        allowed: Allowed<'_>,
    ) -> Arc<Vec<Listed>> {
        let fetch =
            |authorization| lists::fetch(self.client.clone(), Arc::clone(upstream), authorization);
        let caller = allowed
            .authorization
            .filter(|_| matches!(upstream.settings.api_key, ApiKey::Client));
        match caller {
            Some(caller) => list.models_for(caller, upstream.name(), fetch).await,
            None => list.models(upstream.name(), || fetch(None)).await,
        }
    }

    fn upstream(&self, name: &str) -> Option<(Arc<Upstream>, &Arc<List>)> {
        let found = self
            .upstreams
            .iter()
            .zip(&self.lists)
            .find(|(upstream, _)| upstream.name() == name);
        found.map(|(upstream, list)| (Arc::clone(upstream), list))
    }

    async fn close_matches(&self, model: &str, allowed: Allowed<'_>) -> Vec<String> {
        close_to(
            model,
            self.list(allowed).await.into_iter().map(|entry| entry.id),
        )
    }

    /// Asks an upstream now for its models, whatever is remembered; returns how many it lists, and `None` for one that wants to see a caller's
    /// own key, of which the gateway has none: its refusal is an answer.
    pub async fn ask(&self, upstream: &Arc<Upstream>) -> Result<Option<usize>, Error> {
        match lists::fetch(self.client.clone(), Arc::clone(upstream), None).await {
            Ok(models) => Ok(Some(models.len())),
            Err(Unlisted::ToCallers) => Ok(None),
            Err(Unlisted::Failed(error)) => Err(error),
        }
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

fn plain_route(upstream: Arc<Upstream>, list: &List, model: &str) -> Route {
    let known = known_window(list, model);
    Route {
        context_window: upstream.settings.context_window.or(known),
        upstream,
        model: model.to_owned(),
        min_completion_tokens: 0,
        rag: RagLayer::default(),
    }
}

/// The context window of `model` by the list that is already here; no list is fetched for it.
fn known_window(list: &List, model: &str) -> Option<u32> {
    let models = list.known()?;
    models
        .iter()
        .find(|entry| entry.id == model)?
        .context_window
}
