//! Keys, held as digests only.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{KeyLimits, Limiter, Scope};
use crate::config::{AllowOverrides, Key, RagLayer, Secret};

/// Who is asking.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The key's name, for the log; empty where no key is asked for.
    pub name: String,
    /// The workspaces it may see.
    pub scope: Scope,
    /// From when on it opens nothing.
    pub expires: Option<Timestamp>,
    /// Whether it opens nothing for now.
    pub disabled: bool,
    /// Its own key for search; `None`: the gateway's.
    pub search_api_key: Option<Secret>,
    /// The models it may name; `None`: every one.
    pub models: Option<Vec<String>>,
    /// The upstreams it may reach; `None`: every one.
    pub upstreams: Option<Vec<String>>,
    /// Which `rag` keys its requests may carry; `None`: the gateway's own setting.
    pub allow_overrides: Option<AllowOverrides>,
    /// How much it may ask; `None`: as much as it likes.
    pub limits: Option<Arc<KeyLimits>>,
    /// Its own settings.
    pub rag: RagLayer,
}

/// Why a key opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Nobody has it.
    Unknown,
    /// The operator turned it off.
    Disabled,
    /// Its time is over.
    Expired,
}

/// The keys that open the gateway.
#[derive(Debug)]
pub struct KeyRing {
    /// Found by digest: what a guesser could learn from the time of a look-up is the digest of a guess.
    keys: HashMap<[u8; 32], Arc<Principal>>,
    anyone: Option<Arc<Principal>>,
}

impl KeyRing {
    /// The ring of `keys`, whose limits `limiter` has; without any key, everybody may ask for everything.
    pub fn new(keys: &[Key], limiter: &Limiter) -> Self {
        let mut ring = HashMap::new();
        for key in keys {
            let principal = Arc::new(Principal {
                name: key.name.clone(),
                scope: Scope::from(&key.scope),
                expires: key.expires,
                disabled: key.disabled,
                search_api_key: key.search_api_key.clone(),
                models: key.models.clone(),
                upstreams: key.upstreams.clone(),
                allow_overrides: key.allow_overrides.clone(),
                limits: limiter.of(&key.name),
                rag: key.rag.clone(),
            });
            ring.extend(
                key.sha256
                    .iter()
                    .map(|digest| (*digest, Arc::clone(&principal))),
            );
        }
        let anyone = keys.is_empty().then(|| {
            Arc::new(Principal {
                name: String::new(),
                scope: Scope::Every,
                expires: None,
                disabled: false,
                search_api_key: None,
                models: None,
                upstreams: None,
                allow_overrides: None,
                limits: None,
                rag: RagLayer::default(),
            })
        });
        Self { keys: ring, anyone }
    }

    /// Who everybody is where no key is asked for.
    pub fn anyone(&self) -> Option<&Arc<Principal>> {
        self.anyone.as_ref()
    }

    /// Who asks with the key `presented`, where it opens the gateway at `now`.
    pub fn admit(&self, presented: &str, now: Timestamp) -> Result<&Arc<Principal>, Denied> {
        let principal = self.find(presented).ok_or(Denied::Unknown)?;
        if principal.disabled {
            return Err(Denied::Disabled);
        }
        if principal.expires.is_some_and(|end| end <= now) {
            return Err(Denied::Expired);
        }
        Ok(principal)
    }

    /// Whose key `presented` is, whether it opens anything or not.
    pub fn find(&self, presented: &str) -> Option<&Arc<Principal>> {
        let digest: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        let (known, principal) = self.keys.get_key_value(&digest)?;
        bool::from(known.ct_eq(&digest)).then_some(principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KeyLimits, KeyScope};

    fn key(name: &str, secrets: &[&str]) -> Key {
        Key {
            name: name.into(),
            sha256: secrets
                .iter()
                .map(|secret| Sha256::digest(secret.as_bytes()).into())
                .collect(),
            expires: None,
            disabled: false,
            scope: KeyScope::Every,
            search_api_key: None,
            models: None,
            upstreams: None,
            allow_overrides: None,
            limits: KeyLimits::default(),
            rag: RagLayer::default(),
        }
    }

    #[test]
    fn a_key_is_known_by_each_of_its_digests() {
        let ring = KeyRing::new(
            &[key("acme", &["old", "new"]), key("other", &["x"])],
            &Limiter::default(),
        );
        assert_eq!(ring.find("old").unwrap().name, "acme");
        assert_eq!(ring.find("new").unwrap().name, "acme");
        assert_eq!(ring.find("x").unwrap().name, "other");
        assert!(ring.find("").is_none() && ring.find("olds").is_none());
        assert!(ring.anyone().is_none());
    }

    #[test]
    fn a_key_opens_until_the_very_moment_of_its_end() {
        let end: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let mut ending = key("acme", &["old", "new"]);
        ending.expires = Some(end);
        let mut off = key("other", &["x"]);
        off.disabled = true;
        let ring = KeyRing::new(&[ending, off], &Limiter::default());
        let second = jiff::SignedDuration::from_secs(1);

        assert_eq!(ring.admit("old", end - second).unwrap().name, "acme");
        for presented in ["old", "new"] {
            assert_eq!(ring.admit(presented, end).unwrap_err(), Denied::Expired);
        }
        assert_eq!(ring.admit("x", end).unwrap_err(), Denied::Disabled);
        assert_eq!(ring.admit("y", end).unwrap_err(), Denied::Unknown);
    }

    #[test]
    fn without_keys_everybody_may_ask() {
        let ring = KeyRing::new(&[], &Limiter::default());
        assert_eq!(ring.anyone().unwrap().scope, Scope::Every);
    }
}
