//! What upstreams list of themselves: asked for when it is needed, believed for a while, and renewed beside those who read it.
//!
//! One that takes the callers' own keys may list nothing without one. Then each caller has a list of its own, which no other sees.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use http::HeaderValue;
use moka::sync::Cache;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use super::{Client, Error, Upstream};
use crate::openai::{Json, Object};

/// How long a list is believed.
const FRESH: Duration = Duration::from_secs(300);

/// How long the last good list stays in use while the upstream gives no new one.
const STALE: Duration = Duration::from_secs(3600);

/// How long a failed list is not asked for again.
const FAILED: Duration = Duration::from_secs(15);

/// How long an upstream may take to list its models.
const PATIENCE: Duration = Duration::from_secs(4);

/// Of how many callers it is known at most what is listed to them.
const CALLERS: u64 = 1000;

/// A model as it is listed.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What a client writes.
    pub id: String,
    /// The whole entry, extra fields untouched.
    pub json: Json,
    pub(super) upstream: String,
    pub(super) context_window: Option<u32>,
}

/// The models of one upstream: what the operator wrote, else its own list.
#[derive(Debug)]
pub(super) struct List {
    state: Mutex<State>,
    /// What is listed to callers, by the digests of their `Authorization`; what failed, for a shorter time.
    callers: Cache<[u8; 32], Arc<Vec<Listed>>>,
    failed: Cache<[u8; 32], ()>,
}

/// Why there is no list.
#[derive(Debug)]
pub(super) enum Unlisted {
    /// The upstream wants to see a caller's own key, or another one.
    ToCallers,
    /// It failed.
    Failed(Error),
}

#[derive(Debug, Default)]
struct State {
    models: Arc<Vec<Listed>>,
    /// Whether the operator wrote it.
    is_written: bool,
    good: Option<Instant>,
    failed: Option<Instant>,
    /// When it was found out that the upstream lists to callers only.
    to_callers: Option<Instant>,
    /// Asks for a new list while the old one is in use. It ends with an answer or [`PATIENCE`], and with the list.
    renewing: Option<AbortOnDropHandle<()>>,
}

impl List {
    /// A list that the operator wrote.
    pub(super) fn written(names: &[String], upstream: &str, created: u64) -> Self {
        let entry = |id: &String| json!({"id": id, "object": "model", "created": created, "owned_by": upstream});
        let models = names
            .iter()
            .filter_map(|id| listed(upstream, Json::of(&entry(id))))
            .collect();
        Self::of(State {
            models: Arc::new(models),
            is_written: true,
            ..State::default()
        })
    }

    fn of(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            callers: Cache::builder()
                .max_capacity(CALLERS)
                .time_to_live(FRESH)
                .build(),
            failed: Cache::builder()
                .max_capacity(CALLERS)
                .time_to_live(FAILED)
                .build(),
        }
    }

    /// The models of `upstream`, which `fetch` asks for them: at most once at a time, and waited for only where there is no list to be used.
    pub(super) async fn models<F>(
        self: &Arc<Self>,
        upstream: &str,
        fetch: impl FnOnce() -> F,
    ) -> Arc<Vec<Listed>>
    where
        F: Future<Output = Result<Vec<Listed>, Unlisted>> + Send + 'static,
    {
        let mut state = self.state.lock().await;
        if state.is_believed() {
            return Arc::clone(&state.models);
        }
        if state.is_usable() {
            let renewing = state.renewing.as_ref();
            if renewing.is_none_or(AbortOnDropHandle::is_finished) {
                state.renewing = Some(self.renew(upstream.to_owned(), fetch()));
            }
            return Arc::clone(&state.models);
        }
        let outcome = fetch().await;
        state.take(upstream, outcome);
        Arc::clone(&state.models)
    }

    /// The models of `upstream` for a caller with this `Authorization`: those of everybody, unless the upstream lists to callers only.
    pub(super) async fn models_for<F>(
        self: &Arc<Self>,
        caller: &HeaderValue,
        upstream: &str,
        fetch: impl Fn(Option<HeaderValue>) -> F,
    ) -> Arc<Vec<Listed>>
    where
        F: Future<Output = Result<Vec<Listed>, Unlisted>> + Send + 'static,
    {
        let models = self.models(upstream, || fetch(None)).await;
        if self.state.lock().await.to_callers.is_none() {
            return models;
        }
        let digest = Sha256::digest(caller.as_bytes()).into();
        if let Some(known) = self.callers.get(&digest) {
            return known;
        }
        if self.failed.contains_key(&digest) {
            return models;
        }
        match fetch(Some(caller.clone())).await {
            Ok(own) => {
                let own = Arc::new(own);
                self.callers.insert(digest, Arc::clone(&own));
                own
            }
            Err(unlisted) => {
                unlisted.tell(upstream);
                self.failed.insert(digest, ());
                models
            }
        }
    }

    /// The models as far as they are here; nothing is fetched or waited for.
    pub(super) fn known(&self) -> Option<Arc<Vec<Listed>>> {
        Some(Arc::clone(&self.state.try_lock().ok()?.models))
    }

    fn renew<F>(self: &Arc<Self>, upstream: String, fetching: F) -> AbortOnDropHandle<()>
    where
        F: Future<Output = Result<Vec<Listed>, Unlisted>> + Send + 'static,
    {
        // The task holds the list weakly: the list holds the task.
        let list: Weak<Self> = Arc::downgrade(self);
        let renewing = async move {
            let outcome = fetching.await;
            if let Some(list) = list.upgrade() {
                list.state.lock().await.take(&upstream, outcome);
            }
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "it outlives the request that found the list old, so that none waits for the upstream; it ends with the list"
        )]
        AbortOnDropHandle::new(tokio::spawn(renewing))
    }
}

impl State {
    /// Whether the upstream need not be asked now.
    fn is_believed(&self) -> bool {
        self.is_written
            || self.good.is_some_and(|at| at.elapsed() < FRESH)
            || self.failed.is_some_and(|at| at.elapsed() < FAILED)
            || self.to_callers.is_some_and(|at| at.elapsed() < FRESH)
    }

    /// Whether the list is better than none, old as it is.
    fn is_usable(&self) -> bool {
        self.good.is_some_and(|at| at.elapsed() < STALE)
    }

    fn take(&mut self, upstream: &str, outcome: Result<Vec<Listed>, Unlisted>) {
        match outcome {
            Ok(models) => {
                self.models = Arc::new(models);
                self.good = Some(Instant::now());
                self.failed = None;
                self.to_callers = None;
            }
            Err(unlisted) => {
                unlisted.tell(upstream);
                match unlisted {
                    Unlisted::ToCallers => self.to_callers = Some(Instant::now()),
                    Unlisted::Failed(_) => self.failed = Some(Instant::now()),
                }
                if !self.is_usable() {
                    self.models = Arc::default();
                }
            }
        }
    }
}

impl Unlisted {
    fn tell(&self, upstream: &str) {
        match self {
            Self::ToCallers => {
                debug!(
                    upstream.name = upstream,
                    "upstream `{upstream}` lists its models to callers whose key it knows"
                );
            }
            Self::Failed(error) => {
                warn!(upstream.name = upstream, error = %error, "upstream `{upstream}` does not list its models");
            }
        }
    }
}

impl Default for List {
    fn default() -> Self {
        Self::of(State::default())
    }
}

/// Asks an upstream now for its models, with the caller's own `Authorization` where it is given.
pub(super) async fn fetch(
    client: Client,
    upstream: Arc<Upstream>,
    authorization: Option<HeaderValue>,
) -> Result<Vec<Listed>, Unlisted> {
    let body = client.get(&upstream, "/models", authorization, PATIENCE);
    let body = body.await.map_err(|error| {
        if upstream.wants_a_callers_key(&error) {
            Unlisted::ToCallers
        } else {
            Unlisted::Failed(error)
        }
    })?;
    let nonsense = || {
        Unlisted::Failed(Error::Invalid {
            upstream: upstream.name().to_owned(),
            detail: "a list of models without `data`".into(),
        })
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
        .filter_map(|item| listed(upstream.name(), item))
        .collect())
}

/// Reads an entry of a list. One without `id` is named by `technical_name`, then `name`: Paradigm's own shape.
fn listed(upstream: &str, item: Json) -> Option<Listed> {
    let mut object = Object::parse(&item)?;
    let named = ["id", "technical_name", "name"]
        .iter()
        .find_map(|key| object.read_value::<String>(key).filter(|id| !id.is_empty()))?;
    // OpenRouter-style feeds say `context_length` (Inceptron), vLLM says `max_model_len`.
    let window = ["context_window", "context_length", "max_model_len"]
        .iter()
        .find_map(|key| object.read_value::<u32>(key));
    // Empty or no text, its `id` is not what clients can write.
    if object.read_value::<String>("id").as_ref() != Some(&named) {
        object.set("id", Json::of(&named));
    }
    let defaults = [
        ("object", json!("model")),
        ("created", json!(0)),
        ("owned_by", json!(upstream)),
    ];
    for (key, value) in defaults {
        if object.value(key).is_none_or(Json::is_null) {
            object.set(key, Json::of(&value));
        }
    }
    Some(Listed {
        id: named,
        json: object.to_json(),
        upstream: upstream.to_owned(),
        context_window: window,
    })
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn of(id: &str) -> Vec<Listed> {
        listed("gpu", Json::of(&json!({"id": id})))
            .into_iter()
            .collect()
    }

    fn ids(models: &[Listed]) -> Vec<&str> {
        models.iter().map(|entry| entry.id.as_str()).collect()
    }

    async fn made_older(list: &List, by: Duration) {
        let mut state = list.state.lock().await;
        state.good = state.good.map(|at| at.checked_sub(by).unwrap());
    }

    async fn now(list: &Arc<List>, models: Vec<Listed>) -> Arc<Vec<Listed>> {
        list.models("gpu", || async { Ok(models) }).await
    }

    #[tokio::test]
    async fn a_list_is_believed_for_a_while() {
        let list = Arc::new(List::default());
        assert_eq!(ids(&now(&list, of("old")).await), ["old"]);
        made_older(&list, FRESH - Duration::from_secs(1)).await;
        assert_eq!(ids(&now(&list, of("new")).await), ["old"]);
    }

    // In the field: every five minutes one request waited as long as the upstream took to list, up to four seconds.
    #[tokio::test]
    async fn an_old_list_is_used_while_the_new_one_comes() {
        let list = Arc::new(List::default());
        now(&list, of("old")).await;
        made_older(&list, FRESH).await;

        let (answer, answered) = oneshot::channel();
        let renewed = list
            .models("gpu", || async { Ok(answered.await.unwrap()) })
            .await;
        assert_eq!(ids(&renewed), ["old"], "nobody waits");
        // The upstream is asked once, however many look.
        assert_eq!(ids(&now(&list, of("again")).await), ["old"]);

        answer.send(of("new")).unwrap();
        while ids(&now(&list, of("again")).await) != ["new"] {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_list_that_is_too_old_is_waited_for() {
        let list = Arc::new(List::default());
        now(&list, of("old")).await;
        made_older(&list, STALE).await;
        assert_eq!(ids(&now(&list, of("new")).await), ["new"]);
    }

    #[tokio::test]
    async fn the_task_that_renews_a_list_ends_with_it() {
        let list = Arc::new(List::default());
        now(&list, of("old")).await;
        made_older(&list, FRESH).await;
        let (held, dropped) = oneshot::channel::<()>();
        list.models("gpu", || async move {
            let _held = held;
            std::future::pending().await
        })
        .await;

        drop(list);

        assert!(dropped.await.is_err(), "the fetch was given up");
    }
}
