//! The limits of keys: requests, searches and tokens a minute, and requests at once.
//!
//! Each limited key has a bucket for each limit, in this process; where several gateways share their limits, the server's buckets decide and
//! these follow them. A key without limits has nothing here, so nothing is scanned and nothing grows.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    bucket::{Bucket, Standing},
    reservation::Reservation,
    shared::{Reach, Shared, Unusable},
};
use crate::config::{self, Key, OnSharedError, SharedLimits};

/// What is limited a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Requests of any kind.
    Requests,
    /// Searches.
    Searches,
    /// Tokens of prompts and answers.
    Tokens,
}

/// Why a key may not go on. `Display` is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A limit is used up.
    #[error("the key's limit of {limit} {kind} a minute is used up for {wait:?}")]
    UsedUp {
        /// Which limit.
        kind: Kind,
        /// How much it is, a minute.
        limit: u32,
        /// When there is room again.
        wait: Duration,
    },
    /// As many requests as the key may have are under way.
    #[error("the key has {limit} requests under way, as many as it may")]
    Crowded {
        /// How many that are.
        limit: u32,
    },
    /// The server that counts for several gateways is away, and the operator wants nothing counted without it.
    #[error("the server that counts for several gateways is away")]
    Away,
}

/// The limits of every key that has any.
#[derive(Debug, Default)]
pub struct Limiter {
    keys: HashMap<String, Arc<KeyLimits>>,
    shared: Option<(SharedLimits, Arc<Shared>)>,
}

/// The limits of one key, and what it used of them.
#[derive(Debug)]
pub struct KeyLimits {
    name: String,
    limits: config::KeyLimits,
    usage: Arc<Usage>,
    shared: Option<Arc<Shared>>,
}

/// What a key used. A reload hands it on.
#[derive(Debug)]
struct Usage {
    requests: Mutex<Bucket>,
    searches: Mutex<Bucket>,
    tokens: Mutex<Bucket>,
    under_way: AtomicU32,
}

impl Limiter {
    /// The limits of `keys`, which go on from what `before` counted for keys of the same name.
    pub fn new(
        keys: &[Key],
        shared: Option<&SharedLimits>,
        before: Option<&Self>,
    ) -> Result<Self, Unusable> {
        let known = before.and_then(|before| before.shared.as_ref());
        let shared = match (shared, known) {
            (None, _) => None,
            (Some(settings), Some((same, server))) if same == settings => {
                Some((settings.clone(), Arc::clone(server)))
            }
            (Some(settings), _) => Some((settings.clone(), Arc::new(Shared::new(settings)?))),
        };
        let limited = keys
            .iter()
            .filter(|key| key.limits != config::KeyLimits::default());
        let keys = limited.map(|key| {
            let known = before.and_then(|before| before.keys.get(&key.name));
            let usage = known.map_or_else(Arc::default, |known| Arc::clone(&known.usage));
            let limits = KeyLimits {
                name: key.name.clone(),
                limits: key.limits,
                usage,
                shared: shared.as_ref().map(|(_, server)| Arc::clone(server)),
            };
            (key.name.clone(), Arc::new(limits))
        });
        Ok(Self {
            keys: keys.collect(),
            shared,
        })
    }

    /// The limits of the key called `name`, where it has any.
    pub fn of(&self, name: &str) -> Option<Arc<KeyLimits>> {
        self.keys.get(name).cloned()
    }

    /// Asks the server that counts for several gateways whether it is there; `None` where there is none.
    pub async fn probe(&self) -> Option<Reach> {
        let (_, server) = self.shared.as_ref()?;
        Some(server.probe().await)
    }

    /// How it stands with the server that counts for several gateways; `None` where there is none.
    pub fn reach(&self) -> Option<Reach> {
        self.shared.as_ref().map(|(_, server)| server.reach())
    }
}

impl KeyLimits {
    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How much of `kind` the key may have a minute; `None`: as much as it likes.
    pub fn limit(&self, kind: Kind) -> Option<u32> {
        match kind {
            Kind::Requests => self.limits.requests_per_minute,
            Kind::Searches => self.limits.searches_per_minute,
            Kind::Tokens => self.limits.tokens_per_minute,
        }
    }

    /// Gives a request its place among those under way, where they are limited; it is held as long as the place lives.
    pub fn enter(self: &Arc<Self>) -> Result<Option<Place>, Refused> {
        let Some(limit) = self.limits.concurrent_requests else {
            return Ok(None);
        };
        let more = |held: u32| (held < limit).then(|| held + 1);
        let under_way = &self.usage.under_way;
        match under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Some(Place(Arc::clone(&self.usage)))),
            Err(_) => Err(Refused::Crowded { limit }),
        }
    }

    /// Uses `cost` of a limit, and tells how the key stands then; `None` where there is no such limit.
    pub async fn take(
        &self,
        kind: Kind,
        cost: u64,
        now: Instant,
    ) -> Result<Option<Standing>, Refused> {
        let Some(limit) = self.limit(kind) else {
            return Ok(None);
        };
        self.count(kind, limit, cost, now).await?;
        Ok(Some(self.bucket(kind).standing(limit, now)))
    }

    /// Holds `tokens` for a request whose tokens are known later; `None` where they are not limited.
    pub async fn reserve(
        self: &Arc<Self>,
        tokens: u64,
        now: Instant,
    ) -> Result<Option<Reservation>, Refused> {
        let Some(limit) = self.limit(Kind::Tokens) else {
            return Ok(None);
        };
        let counted = self.count(Kind::Tokens, limit, tokens, now).await?;
        let held = tokens.min(limit.into());
        Ok(Some(Reservation::new(Arc::clone(self), counted, held)))
    }

    /// How the key stands with a limit; `None` where there is no such limit.
    pub fn standing(&self, kind: Kind, now: Instant) -> Option<Standing> {
        let limit = self.limit(kind)?;
        Some(self.bucket(kind).standing(limit, now))
    }

    /// Uses `tokens` whether there is room or not, where the request that took them was counted; negative ones are given back.
    pub(super) fn settle(&self, tokens: i64, counted: Counted, now: Instant) {
        let kind = Kind::Tokens;
        let Some(limit) = self.limit(kind) else {
            return;
        };
        self.bucket(kind).settle(tokens, limit, now);
        if let (Counted::Together, Some(shared)) = (counted, &self.shared) {
            shared.settle(self.shared_key(kind), limit, tokens);
        }
    }

    async fn count(
        &self,
        kind: Kind,
        limit: u32,
        cost: u64,
        now: Instant,
    ) -> Result<Counted, Refused> {
        let used_up = |wait| Refused::UsedUp { kind, limit, wait };
        if let Some(shared) = &self.shared {
            match shared.take(&self.shared_key(kind), limit, cost).await {
                Ok(told) => {
                    // What the others used is remembered here, for the time when the server is away.
                    self.bucket(kind).set(told.used, now);
                    return match told.wait {
                        None => Ok(Counted::Together),
                        Some(wait) => Err(used_up(wait)),
                    };
                }
                Err(_) if shared.policy() == OnSharedError::Refuse => return Err(Refused::Away),
                Err(_) => {}
            }
        }
        let counted = self.bucket(kind).take(cost, limit, now);
        counted.map(|()| Counted::Here).map_err(used_up)
    }

    fn bucket(&self, kind: Kind) -> MutexGuard<'_, Bucket> {
        let bucket = match kind {
            Kind::Requests => &self.usage.requests,
            Kind::Searches => &self.usage.searches,
            Kind::Tokens => &self.usage.tokens,
        };
        bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bucket's name at the server. The kind goes first: a key's name may hold anything.
    fn shared_key(&self, kind: Kind) -> String {
        format!("groundwire:limit:{kind}:{}", self.name)
    }
}

impl Default for Usage {
    fn default() -> Self {
        let empty = || Mutex::new(Bucket::new(Instant::now()));
        Self {
            requests: empty(),
            searches: empty(),
            tokens: empty(),
            under_way: AtomicU32::new(0),
        }
    }
}

/// Where something was counted, and is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Here,
    Together,
}

/// A request's place among those of its key that are under way.
#[derive(Debug)]
pub struct Place(Arc<Usage>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Refused {
    /// A word for metrics; there are few of them.
    pub fn word(&self) -> &'static str {
        match self {
            Self::UsedUp { kind, .. } => kind.word(),
            Self::Crowded { .. } => "concurrent",
            Self::Away => "shared",
        }
    }
}

impl Kind {
    /// Its word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Searches => "searches",
            Self::Tokens => "tokens",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{KeyScope, RagLayer};

    fn key(name: &str, limits: config::KeyLimits) -> Key {
        Key {
            name: name.into(),
            sha256: Vec::new(),
            expires: None,
            disabled: false,
            search_api_key: None,
            scope: KeyScope::Every,
            models: None,
            upstreams: None,
            allow_overrides: None,
            limits,
            rag: RagLayer::default(),
        }
    }

    /// A key with a limit of tokens alone.
    pub(in crate::access) fn of_tokens(limit: u32) -> Arc<KeyLimits> {
        let limits = config::KeyLimits {
            tokens_per_minute: Some(limit),
            ..config::KeyLimits::default()
        };
        let keys = [
            key("acme", limits),
            key("free", config::KeyLimits::default()),
        ];
        let limiter = Limiter::new(&keys, None, None).unwrap();
        assert!(limiter.of("free").is_none(), "nothing is kept for it");
        limiter.of("acme").unwrap()
    }

    #[tokio::test]
    async fn a_limit_that_is_not_set_holds_nothing_up() {
        let (limits, now) = (of_tokens(1), Instant::now());

        assert_eq!(limits.take(Kind::Requests, 1, now).await, Ok(None));
        assert_eq!(limits.take(Kind::Searches, 1, now).await, Ok(None));
        assert!(limits.enter().unwrap().is_none());
    }
}
