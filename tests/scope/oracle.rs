//! What the contract lets a request see, worked out from the operator's words and the client's, without any of the gateway's code.

use std::collections::BTreeSet;

use crate::{
    asking::{Ask, Chat, Form, Kind, Link, Lookup, Meaning, Presented},
    tenants::{Allow, Key, Setup, UPSTREAMS},
    world::{By, Home, Marker, World},
};

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    /// It is refused, and nothing is searched and no model asked.
    Refused,
    /// It may see this much.
    May(Permit),
}

/// What a request may see.
#[derive(Debug, Clone)]
pub(crate) struct Permit {
    /// The search key that is used for it.
    pub(crate) key: usize,
    /// `None`: every workspace that the search key reaches.
    pub(crate) workspaces: Option<BTreeSet<i64>>,
    /// What the search key reaches at all.
    pub(crate) reach: BTreeSet<i64>,
    /// Whether anything is searched for it.
    pub(crate) searches: bool,
    /// Whether all is well unless a neighbour fails: the answer is to be a success.
    pub(crate) succeeds: bool,
}

impl Permit {
    /// Whether it may see what this marker stands in.
    pub(crate) fn holds(&self, marker: Marker) -> bool {
        let asked_so = match marker.by {
            By::Name => !self.searches,
            // What was found for one scope is not even kept for another.
            By::Scope(_) | By::Everywhere => {
                marker.by == By::search(self.workspaces.as_ref(), false)
            }
            By::Files => true,
        };
        marker.key == self.key
            && asked_so
            && match marker.workspace {
                None => self.workspaces.is_none(),
                Some(id) => self.reach.contains(&id) && self.holds_workspace(id),
            }
    }

    pub(crate) fn holds_workspace(&self, id: i64) -> bool {
        self.workspaces.as_ref().is_none_or(|ids| ids.contains(&id))
    }

    pub(crate) fn holds_file(&self, file: i64) -> bool {
        match World::home(file) {
            Home::In(id) => self.holds_workspace(id),
            Home::Untold | Home::NoFile => self.workspaces.is_none(),
        }
    }
}

/// What becomes of `ask`.
pub(crate) fn verdict(setup: &Setup, world: &World, ask: &Ask) -> Verdict {
    if let Kind::Opened { link, forged } = &ask.kind {
        return opened(setup, world, ask, link, *forged);
    }
    let Some(key) = key(setup, ask) else {
        return Verdict::Refused;
    };
    let of_key = Permit {
        key: key.search_key,
        workspaces: key.scope.clone(),
        reach: world.reach[key.search_key].clone(),
        searches: false,
        succeeds: false,
    };
    match &ask.kind {
        Kind::Chat(chat) => of_chat(setup, world, key, of_key, chat),
        Kind::Lookup(lookup) => of_lookup(of_key, lookup),
        Kind::Upload(form) => of_upload(of_key, form),
        Kind::File { id, .. } => {
            let file = one_spelling(id.strip_prefix("file-").unwrap_or(id));
            Verdict::May(Permit {
                succeeds: file.is_some_and(|file| {
                    let home = world.seen_home(of_key.key, file);
                    // A file whose workspace nobody tells is on no workspace's list.
                    home != Home::NoFile && of_key.holds_file(file)
                }),
                ..of_key
            })
        }
        Kind::Source(id) => Verdict::May(Permit {
            succeeds: one_spelling(id).is_some_and(|file| {
                world.seen_home(of_key.key, file) != Home::NoFile && of_key.holds_file(file)
            }),
            ..of_key
        }),
        Kind::Get(path) => {
            let store = path.strip_prefix("/v1/vector_stores/");
            let succeeds = match store {
                Some(id) => store_of(id)
                    .is_some_and(|id| of_key.holds_workspace(id) && of_key.reach.contains(&id)),
                None => true,
            };
            Verdict::May(Permit { succeeds, ..of_key })
        }
        Kind::Embeddings | Kind::Opened { .. } => Verdict::May(Permit {
            succeeds: false,
            workspaces: Some(BTreeSet::new()),
            ..of_key
        }),
    }
}

fn key<'s>(setup: &'s Setup, ask: &Ask) -> Option<&'s Key> {
    match ask.key {
        Presented::Key(number) => setup.keys.get(number).filter(|key| key.opens),
        Presented::Wrong | Presented::None => None,
    }
}

fn of_chat(setup: &Setup, world: &World, key: &Key, of_key: Permit, chat: &Chat) -> Verdict {
    let said = || {
        chat.headers
            .iter()
            .map(|(name, option)| (*name, option, true))
            .chain(chat.rag.iter().map(|(name, option)| (*name, option, false)))
    };
    if said().any(|(_, option, _)| option.meaning == Meaning::Nonsense) {
        return Verdict::Refused;
    }
    let allow: &Allow = key.allow.as_ref().unwrap_or(&setup.allow);
    if said().any(|(name, option, _)| option.meaning != Meaning::Nothing && !allow.allows(name)) {
        return Verdict::Refused;
    }
    // The body wins over headers.
    let last = |wanted: &str| {
        let mut found = said()
            .filter(|(name, option, _)| *name == wanted && option.meaning != Meaning::Nothing);
        let (first, second) = (found.next(), found.next());
        second.or(first).map(|(_, option, _)| &option.meaning)
    };
    let Some((upstream_rag, mode_of_model)) = of_model(setup, key, &chat.model) else {
        return Verdict::Refused;
    };
    let files: &[i64] = match last("file_id") {
        Some(Meaning::Ids(files)) => files,
        _ => &[],
    };
    if !files.is_empty() && (last("workspace_id").is_some() || last("tag_id").is_some()) {
        return Verdict::Refused;
    }

    // Key and model bound it, the request or else the defaults narrow it.
    let mut scope = key.scope.clone();
    if let Some(bound) = upstream_rag {
        let Some(both) = common(scope.as_ref(), bound) else {
            return Verdict::Refused;
        };
        scope = Some(both);
    }
    if let Some(Meaning::Ids(asked)) = last("workspace_id") {
        let asked: BTreeSet<i64> = asked.iter().copied().collect();
        if scope.as_ref().is_some_and(|scope| !asked.is_subset(scope)) {
            return Verdict::Refused;
        }
        scope = Some(asked);
    } else if files.is_empty() {
        let defaults = key
            .layer
            .workspaces
            .as_ref()
            .or(setup.base.workspaces.as_ref());
        if let Some(defaults) = defaults {
            let Some(both) = common(scope.as_ref(), defaults) else {
                return Verdict::Refused;
            };
            scope = Some(both);
        }
    }
    let mode = match last("mode") {
        Some(Meaning::Mode(mode)) => mode,
        _ => mode_of_model
            .or(key.layer.mode)
            .or(setup.base.mode)
            .unwrap_or("inject"),
    };
    // A prompt has no tools: who asks for one is told so, and where only settings do, the prompt is searched for beforehand.
    let asks_for_tool = matches!(last("mode"), Some(Meaning::Mode("tool")));
    if asks_for_tool && chat.completion {
        return Verdict::Refused;
    }
    let permit = Permit {
        workspaces: scope,
        searches: mode != "off",
        succeeds: true,
        ..of_key
    };
    if mode == "off" {
        return Verdict::May(permit);
    }
    let held = |file: &i64| match world.seen_home(permit.key, *file) {
        Home::In(id) => permit.holds_workspace(id),
        Home::Untold | Home::NoFile => false,
    };
    if permit.workspaces.is_some() && !files.iter().all(held) {
        return Verdict::Refused;
    }
    Verdict::May(permit)
}

/// The bound and the mode of the model that `asked` names; `None` where the key may not use it, or it is not there.
fn of_model<'s>(
    setup: &'s Setup,
    key: &Key,
    asked: &str,
) -> Option<(Option<&'s Vec<i64>>, Option<&'static str>)> {
    let may = |upstream: &str, model: &str| {
        let named = key.models.as_ref().is_none_or(|models| {
            models.contains(&asked)
                || models
                    .iter()
                    .any(|name| *name == format!("{upstream}/{model}"))
        });
        named
            && key
                .upstreams
                .as_ref()
                .is_none_or(|upstreams| upstreams.contains(&upstream))
    };
    if let Some(model) = setup.models.iter().find(|model| model.name == asked) {
        return may(model.upstream, model.model)
            .then_some((model.layer.workspaces.as_ref(), model.layer.mode));
    }
    let prefixed = asked.split_once('/').filter(|(upstream, model)| {
        !model.is_empty() && UPSTREAMS.iter().any(|(name, _)| name == upstream)
    });
    let (upstream, model) = prefixed.or_else(|| {
        let lists = |(name, models): &&(&str, [&str; 2])| {
            let reached = key
                .upstreams
                .as_ref()
                .is_none_or(|upstreams| upstreams.contains(name));
            reached && models.contains(&asked)
        };
        let listed = UPSTREAMS.iter().find(lists).map(|(name, _)| (*name, asked));
        listed.or_else(|| setup.default_upstream.map(|name| (name, asked)))
    })?;
    may(upstream, model).then_some((None, None))
}

fn of_lookup(of_key: Permit, lookup: &Lookup) -> Verdict {
    let held = store_of(&lookup.store).filter(|id| of_key.holds_workspace(*id));
    let Some(id) = held.filter(|_| !lookup.nonsense) else {
        return Verdict::Refused;
    };
    let succeeds = of_key.reach.contains(&id);
    Verdict::May(Permit {
        workspaces: Some([id].into()),
        searches: true,
        succeeds,
        ..of_key
    })
}

fn of_upload(of_key: Permit, form: &Form) -> Verdict {
    if form.nonsense {
        return Verdict::Refused;
    }
    let said: BTreeSet<i64> = form.said.iter().copied().collect();
    if said.len() > 1 || said.iter().any(|id| !of_key.holds_workspace(*id)) {
        return Verdict::Refused;
    }
    Verdict::May(of_key)
}

/// A link opens its file for whoever holds it, and no other file.
fn opened(setup: &Setup, world: &World, ask: &Ask, link: &Link, forged: bool) -> Verdict {
    let signs = link.key == 0 || setup.keys.iter().any(|key| key.search_key == link.key);
    if !forged && signs {
        let Home::In(home) = World::home(link.file) else {
            return Verdict::May(everything(world, link.key));
        };
        return Verdict::May(Permit {
            workspaces: Some([home].into()),
            ..everything(world, link.key)
        });
    }
    match key(setup, ask) {
        None => Verdict::Refused,
        Some(key) => Verdict::May(Permit {
            key: key.search_key,
            workspaces: key.scope.clone(),
            reach: world.reach[key.search_key].clone(),
            searches: false,
            succeeds: false,
        }),
    }
}

fn everything(world: &World, key: usize) -> Permit {
    Permit {
        key,
        workspaces: None,
        reach: world.reach[key].clone(),
        searches: false,
        succeeds: true,
    }
}

/// The workspaces of `bound` that `scope` holds; `None`: there is none.
fn common(scope: Option<&BTreeSet<i64>>, bound: &[i64]) -> Option<BTreeSet<i64>> {
    let both: BTreeSet<i64> = bound
        .iter()
        .copied()
        .filter(|id| scope.is_none_or(|scope| scope.contains(id)))
        .collect();
    (!both.is_empty()).then_some(both)
}

/// The workspace of a vector store's id, in the one spelling that counts.
fn store_of(id: &str) -> Option<i64> {
    one_spelling(id.strip_prefix("vs_").unwrap_or(id))
}

fn one_spelling(text: &str) -> Option<i64> {
    text.parse::<i64>()
        .ok()
        .filter(|number| *number >= 0 && number.to_string() == text)
}
