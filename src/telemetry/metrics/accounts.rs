//! The numbers that a request adds to, kept together, so that they are found with one look.
//!
//! `Family` finds each by labels of its own: eight looks and some twenty strings a request, 6,900 instructions where
//! this takes 1,100.

use std::{
    hash::BuildHasher,
    sync::{OnceLock, PoisonError, RwLock},
};

use hashbrown::{DefaultHashBuilder, HashTable};
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

use super::labels::{Ended, Request, Road, Tokens};

/// How many accounts are kept. Their labels are bounded as those of the numbers are, but keys and models that a reload renamed would stay.
pub(super) const MOST: usize = 4096;

/// Whose numbers they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Owner<'a> {
    pub(super) endpoint: &'a str,
    pub(super) upstream: &'a str,
    /// As a label says it.
    pub(super) model: &'a str,
    pub(super) mode: &'static str,
    pub(super) key: &'a str,
}

impl Owner<'_> {
    /// The labels of times.
    pub(super) fn road(&self) -> Road {
        Road {
            endpoint: self.endpoint.to_owned(),
            upstream: self.upstream.to_owned(),
            model: self.model.to_owned(),
            mode: self.mode,
        }
    }

    /// The labels of an ending.
    pub(super) fn ended(&self, ending: &'static str) -> Ended {
        Ended {
            endpoint: self.endpoint.to_owned(),
            upstream: self.upstream.to_owned(),
            mode: self.mode,
            ending,
        }
    }

    /// The labels of tokens.
    pub(super) fn tokens(&self, kind: &'static str) -> Tokens {
        Tokens {
            kind,
            upstream: self.upstream.to_owned(),
            model: self.model.to_owned(),
            key: self.key.to_owned(),
        }
    }

    /// The labels of a request.
    pub(super) fn request(&self, status: u16) -> Request {
        Request {
            endpoint: self.endpoint.to_owned(),
            upstream: self.upstream.to_owned(),
            model: self.model.to_owned(),
            mode: self.mode,
            key: self.key.to_owned(),
            status,
        }
    }
}

/// The numbers of the requests of one owner, each found when it is first needed: one that nothing was added to is not told.
#[derive(Debug)]
pub(super) struct Account {
    /// Endpoint, upstream, model and key.
    names: [Box<str>; 4],
    mode: &'static str,
    pub(super) duration: OnceLock<Histogram>,
    pub(super) first_event: OnceLock<Histogram>,
    pub(super) gap: OnceLock<Histogram>,
    pub(super) endings: Counters<&'static str>,
    pub(super) statuses: Counters<u16>,
    pub(super) tokens: Counters<&'static str>,
}

impl Account {
    fn of(owner: &Owner<'_>) -> Self {
        Self {
            names: [owner.endpoint, owner.upstream, owner.model, owner.key].map(Box::from),
            mode: owner.mode,
            duration: OnceLock::new(),
            first_event: OnceLock::new(),
            gap: OnceLock::new(),
            endings: Counters::default(),
            statuses: Counters::default(),
            tokens: Counters::default(),
        }
    }

    fn owner(&self) -> Owner<'_> {
        let [endpoint, upstream, model, key] = &self.names;
        Owner {
            endpoint,
            upstream,
            model,
            mode: self.mode,
            key,
        }
    }
}

/// Counters that differ in one label.
#[derive(Debug)]
pub(super) struct Counters<L>([OnceLock<(L, Counter)>; 4]);

impl<L> Default for Counters<L> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl<L: Copy + PartialEq> Counters<L> {
    /// Adds to the counter with this label, which `find` looks up where it is not among the first four that were needed.
    pub(super) fn add(&self, label: L, count: u64, find: impl Fn() -> Counter) {
        for place in &self.0 {
            let (known, counter) = place.get_or_init(|| (label, find()));
            if *known == label {
                counter.inc_by(count);
                return;
            }
        }
        find().inc_by(count);
    }
}

/// Every account.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    known: RwLock<HashTable<Account>>,
    hasher: DefaultHashBuilder,
}

impl Accounts {
    /// Lets `add` add to the account of `owner`.
    pub(super) fn with(&self, owner: &Owner<'_>, add: impl FnOnce(&Account)) {
        let hash = self.hasher.hash_one(owner);
        let is_it = |account: &Account| account.owner() == *owner;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = known.find(hash, is_it) {
            return add(account);
        }
        drop(known);
        let account = Account::of(owner);
        add(&account);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            // The numbers themselves stay where they are; those that are needed again are found again.
            known.clear();
        }
        let rehash = |account: &Account| self.hasher.hash_one(account.owner());
        known.entry(hash, is_it, rehash).or_insert(account);
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.known.read().unwrap().len()
    }
}
