//! What each key for search reaches: one for the gateway's own key, one for each key of a client that brings its own.
//!
//! Nothing is shared between two of them but the configuration: connections, pace, kept passages and coalesced searches are each one's own,
//! so that no mistake further up can hand one key's passages to another's caller.

use std::{collections::HashMap, sync::Arc};

use sha2::{Digest, Sha256};

use super::{App, BuildError};
use crate::{
    config::{Config, FilesTarget, SearchBackend, SearchCache, Secret, WorkspaceId},
    rag::{
        links::Signer,
        reach::{Reach, Realm},
    },
    retrieval::{
        Retriever,
        cached::Cached,
        documents::DocumentStore,
        lighton::{self, LightOn, paradigm::Paradigm},
        local::{LocalFolder, folder::Progress},
        nowhere::Nowhere,
    },
};

/// Paces the requests to Paradigm's files. Its own limit is not public; LightOn's other API takes as many.
const PARADIGM_REQUESTS_PER_MINUTE: u32 = 1000;

/// What one key for search reaches.
pub struct Search {
    /// Passages, and the links to what they come from.
    pub reach: Arc<Reach>,
    /// The documents behind citations.
    pub documents: Arc<dyn DocumentStore>,
    /// Where `/v1/files` stores: the same, unless the operator chose another service.
    pub files: Arc<dyn DocumentStore>,
    lighton: Option<Arc<LightOn>>,
    cache: Option<Arc<Cached<LightOn>>>,
}

/// All of them.
pub(super) struct Searches {
    gateway: Arc<Search>,
    own: HashMap<Secret, Arc<Search>>,
    /// For a key that is not there: it must not search with the gateway's instead.
    nowhere: Arc<Search>,
}

impl Searches {
    /// Builds what `config` names; what stays the same keeps what it holds.
    pub(super) fn new(
        config: &Config,
        signer: &Signer,
        before: Option<&App>,
    ) -> Result<Self, BuildError> {
        let paradigm = paradigm(config)?;
        let parts = Parts {
            config,
            signer,
            before,
            paradigm: paradigm.as_ref(),
        };
        let gateway = Arc::new(match &config.search.backend {
            SearchBackend::LightOn { api_key: None, .. } => parts.nowhere(),
            SearchBackend::LightOn {
                api_key: Some(key), ..
            } => parts.lighton(key, signer.clone())?,
            SearchBackend::Local { .. } => parts.local()?,
        });
        let mut own = HashMap::new();
        for key in config
            .keys
            .iter()
            .filter_map(|key| key.search_api_key.as_ref())
        {
            if !own.contains_key(key) {
                let search = if gateways_key(config) == Some(key) {
                    Arc::clone(&gateway)
                } else {
                    Arc::new(parts.lighton(key, signer.for_search_key(key))?)
                };
                own.insert(key.clone(), search);
            }
        }
        let nowhere = Arc::new(parts.nowhere());
        Ok(Self {
            gateway,
            own,
            nowhere,
        })
    }

    /// The gateway's own.
    pub(super) fn gateway(&self) -> &Arc<Search> {
        &self.gateway
    }

    /// That of a client's own key.
    pub(super) fn own(&self, key: &Secret) -> &Arc<Search> {
        self.own.get(key).unwrap_or(&self.nowhere)
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Search>> {
        std::iter::once(&self.gateway).chain(self.own.values())
    }
}

impl Search {
    /// Whether there is something to search in: a key, or a folder.
    pub(super) fn leads_somewhere(&self, config: &Config) -> bool {
        self.lighton.is_some() || matches!(config.search.backend, SearchBackend::Local { .. })
    }

    /// Closes connections that rested for long enough.
    pub(super) fn sweep(&self) {
        if let Some(lighton) = &self.lighton {
            lighton.sweep();
        }
    }

    /// Forgets what a change of documents in `workspace` can have made wrong.
    pub(super) fn documents_changed(&self, workspace: WorkspaceId) {
        self.reach.forget();
        if let Some(cache) = &self.cache {
            cache.invalidate(workspace);
        }
    }

    /// Keeps nothing of `workspace` for as long as the service may take to read a new document.
    pub(super) fn documents_coming(&self, workspace: WorkspaceId) {
        if let Some(cache) = &self.cache {
            cache.unsettle(workspace);
        }
    }
}

/// What each of them is built from.
struct Parts<'p> {
    config: &'p Config,
    signer: &'p Signer,
    before: Option<&'p App>,
    /// Paradigm's files, where `/v1/files` stores there.
    paradigm: Option<&'p Arc<dyn DocumentStore>>,
}

impl Parts<'_> {
    fn nowhere(&self) -> Search {
        let nowhere = Arc::new(Nowhere);
        let realm = realm("nowhere", "");
        self.search(
            Arc::clone(&nowhere) as _,
            nowhere,
            self.signer.clone(),
            realm,
        )
    }

    fn local(&self) -> Result<Search, BuildError> {
        let SearchBackend::Local { documents } = &self.config.search.backend else {
            return Ok(self.nowhere());
        };
        let realm = realm("local", &documents.to_string_lossy());
        let same = self.before.filter(|before| {
            let (old, new) = (&before.config.search, &self.config.search);
            old.backend == new.backend && old.timeout == new.timeout
        });
        if let Some(before) = same {
            let search = before.gateway_search();
            let retriever = Arc::clone(&search.reach.retriever);
            let documents = Arc::clone(&search.documents);
            return Ok(self.search(retriever, documents, self.signer.clone(), realm));
        }
        let folder = LocalFolder::open(documents, self.config.search.timeout, report)
            .map_err(|error| BuildError::Search(error.to_string()))?;
        let folder = Arc::new(folder);
        Ok(self.search(Arc::clone(&folder) as _, folder, self.signer.clone(), realm))
    }

    fn lighton(&self, key: &Secret, signer: Signer) -> Result<Search, BuildError> {
        let settings = self.config.search.cache;
        let known = self.known(key);
        let client = match known.and_then(|(_, search)| search.lighton.clone()) {
            Some(client) => client,
            None => Arc::new(client(self.config, key)?),
        };
        let kept = known.filter(|(before, _)| before.config.search.cache == settings);
        let kept = kept.and_then(|(_, search)| search.cache.clone());
        let new = |settings: SearchCache| Arc::new(Cached::new(Arc::clone(&client), settings));
        let cache = kept.or_else(|| settings.map(new));
        let retriever: Arc<dyn Retriever> = match &cache {
            Some(cache) => Arc::clone(cache) as _,
            None => Arc::clone(&client) as _,
        };
        let address = place(self.config).map_or("", |(base_url, _)| base_url.as_str());
        let realm = realm(address, key.expose());
        Ok(Search {
            lighton: Some(Arc::clone(&client)),
            cache,
            ..self.search(retriever, client, signer, realm)
        })
    }

    /// What was built for the same key before, where it would be built the same now.
    fn known(&self, key: &Secret) -> Option<(&App, &Arc<Search>)> {
        let before = self.before?;
        let (old, new) = (&before.config, self.config);
        let same = place(old) == place(new)
            && old.search.timeout == new.search.timeout
            && old.timeouts.connect == new.timeouts.connect
            && old.retry == new.retry;
        if !same {
            return None;
        }
        let search = if gateways_key(old) == Some(key) {
            before.gateway_search()
        } else {
            before.searches.own.get(key)?
        };
        Some((before, search))
    }

    fn search(
        &self,
        retriever: Arc<dyn Retriever>,
        documents: Arc<dyn DocumentStore>,
        signer: Signer,
        realm: Realm,
    ) -> Search {
        let files = self.paradigm.unwrap_or(&documents);
        let reach = Reach::new(retriever, Arc::clone(&documents), signer, realm);
        Search {
            reach: Arc::new(reach),
            files: Arc::clone(files),
            documents,
            lighton: None,
            cache: None,
        }
    }
}

fn realm(place: &str, key: &str) -> Realm {
    let whole = Sha256::new().chain_update(place).chain_update([0]);
    whole.chain_update(key).finalize().into()
}

/// Where LightOn is, and how fast it may be asked.
fn place(config: &Config) -> Option<(&url::Url, u32)> {
    match &config.search.backend {
        SearchBackend::LightOn {
            base_url,
            requests_per_minute,
            ..
        } => Some((base_url, *requests_per_minute)),
        SearchBackend::Local { .. } => None,
    }
}

fn gateways_key(config: &Config) -> Option<&Secret> {
    match &config.search.backend {
        SearchBackend::LightOn { api_key, .. } => api_key.as_ref(),
        SearchBackend::Local { .. } => None,
    }
}

fn client(config: &Config, key: &Secret) -> Result<LightOn, BuildError> {
    let (base_url, requests_per_minute) = place(config)
        .ok_or_else(|| BuildError::Search("a folder is searched, which takes no key".to_owned()))?;
    let options = options(config, requests_per_minute);
    LightOn::new(base_url, key.clone(), options).map_err(failed)
}

/// Where files go, if not to where they are searched. A folder is its own store, and read only.
fn paradigm(config: &Config) -> Result<Option<Arc<dyn DocumentStore>>, BuildError> {
    let local = matches!(config.search.backend, SearchBackend::Local { .. });
    if local || config.files.target == FilesTarget::LightOn {
        return Ok(None);
    }
    let (base_url, key) = config.paradigm().ok_or_else(|| {
        BuildError::Search("`files.target` names an upstream that is not there".to_owned())
    })?;
    let options = options(config, PARADIGM_REQUESTS_PER_MINUTE);
    let store = Paradigm::new(base_url, key.clone(), options).map_err(failed)?;
    Ok(Some(Arc::new(store)))
}

fn options(config: &Config, requests_per_minute: u32) -> lighton::Options {
    lighton::Options {
        connect: config.timeouts.connect,
        timeout: config.search.timeout,
        requests_per_minute,
        retry: config.retry.clone(),
    }
}

fn failed(error: crate::retrieval::Error) -> BuildError {
    BuildError::Search(error.to_string())
}

/// Tells how the reading of the folder goes: what was skipped, and what is searched in the end.
fn report(progress: Progress) {
    match progress {
        Progress::Skipped { path, reason } => tracing::warn!("`{path}` is not searched: {reason}"),
        Progress::Indexed { size } => tracing::info!(?size, "the folder of documents is searched"),
        Progress::Found { .. } | Progress::Read { .. } | Progress::Removed { .. } => {}
    }
}
