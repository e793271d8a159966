//! Keys, held as digests only.

use std::{collections::HashMap, sync::Arc};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{KeyLimits, Limiter, Scope};
use crate::config::{AllowOverrides, Key, RagLayer};

/// Who is asking.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The key's name, for the log; empty where no key is asked for.
    pub name: String,
    /// The workspaces it may see.
    pub scope: Scope,
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

    /// Whose key `presented` is.
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
            scope: KeyScope::Every,
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
    fn without_keys_everybody_may_ask() {
        let ring = KeyRing::new(&[], &Limiter::default());
        assert_eq!(ring.anyone().unwrap().scope, Scope::Every);
    }
}
