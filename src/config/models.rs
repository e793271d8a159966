//! `[models]`: the names that clients see, and whether a name that stands anywhere in the configuration leads to a model.

use super::{
    Model, Rag,
    file::{check_rewriting, rag},
    problem::{Fault, closest, suggestion},
    section::Section,
    upstreams::Upstreams,
    values::{list, name, number},
};

/// What a name in the configuration can lead to.
pub(super) struct Names<'a> {
    pub(super) models: Vec<String>,
    pub(super) upstreams: &'a Upstreams,
    pub(super) default_upstream: Option<&'a str>,
}

impl Names<'_> {
    /// Checks that an upstream is called `name`.
    pub(super) fn check_upstream(&self, name: &str) -> Result<(), Fault> {
        let names = &self.upstreams.names;
        if names.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(Fault::new(
            format!("no upstream is called `{name}`"),
            suggestion(name, names.iter().map(String::as_str)),
        ))
    }

    /// Checks that `name` is one of `[models]`, or `upstream/model`.
    pub(super) fn check_configured(&self, name: &str) -> Result<(), Fault> {
        if self.models.iter().any(|known| known == name) {
            return Ok(());
        }
        match name.split_once('/') {
            Some((upstream, model)) if !model.is_empty() => self.check_upstream(upstream),
            _ => Err(self.unknown(name)),
        }
    }

    /// Checks that a client could name the model so, a model that only its upstream lists included.
    ///
    /// What an upstream lists is not known here, so there a name is refused only when it is one slip away from a configured one.
    pub(super) fn check_nameable(&self, name: &str) -> Result<(), Fault> {
        if self.check_configured(name).is_ok() {
            return Ok(());
        }
        let lists = |models: &Option<Vec<String>>| {
            models
                .as_ref()
                .is_some_and(|models| models.iter().any(|known| known == name))
        };
        if self
            .upstreams
            .right
            .iter()
            .any(|upstream| lists(&upstream.models))
        {
            return Ok(());
        }
        // An upstream with a fault counts as one that lists models itself: its fault is told already.
        let some_are_unknown = self.upstreams.right.len() < self.upstreams.names.len()
            || self.default_upstream.is_some()
            || self
                .upstreams
                .right
                .iter()
                .any(|upstream| upstream.models.is_none());
        let is_slip = self.models.iter().any(|known| is_slip(name, known))
            || name.split_once('/').is_some_and(|(prefix, _)| {
                self.upstreams
                    .names
                    .iter()
                    .any(|known| is_slip(prefix, known))
            });
        if some_are_unknown && !is_slip {
            Ok(())
        } else {
            Err(self.unknown(name))
        }
    }

    fn unknown(&self, name: &str) -> Fault {
        let remedy = match closest(name, self.models.iter().map(String::as_str)) {
            Some(meant) => format!(
                "did you mean `{meant}`? A model of an upstream is written `upstream/model`"
            ),
            None => "write a name of `[models]`, or `upstream/model`".to_owned(),
        };
        Fault::new(format!("no model is called `{name}`"), remedy)
    }
}

/// Whether one letter was missed, doubled, swapped or mistaken; digits are versions, and another version is another model.
fn is_slip(name: &str, known: &str) -> bool {
    let letters = |text: &str| {
        text.chars()
            .filter(|c| !c.is_ascii_digit())
            .collect::<String>()
    };
    name != known && strsim::damerau_levenshtein(&letters(name), &letters(known)) == 1
}

/// A model before the names in it are checked.
pub(super) struct Draft<'r> {
    name: String,
    section: Section<'r>,
}

impl Draft<'_> {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// Opens `[models]` in the order of the file, then those that only variables name.
pub(super) fn drafts<'r>(root: &mut Section<'r>) -> Vec<Draft<'r>> {
    let mut entries = root.entries("models");
    entries.extend(root.entries_in_variables("models", &entries));
    entries
        .into_iter()
        .map(|(name, section)| Draft { name, section })
        .collect()
}

/// Reads one model and checks the names in it; `base` is `[rag]`.
pub(super) fn model(draft: Draft<'_>, names: &Names<'_>, base: &Rag) -> Option<Model> {
    let Draft {
        name: own_name,
        mut section,
    } = draft;
    if own_name.is_empty() || own_name.chars().any(char::is_control) {
        section.fault_here(
            "the name is empty or holds control characters",
            "give it a readable name",
        );
    }
    let upstream = upstream(&mut section, names);
    let model = Model {
        upstream: upstream.clone().unwrap_or_default(),
        model: section
            .read("model", name)
            .unwrap_or_else(|| own_name.clone()),
        fallback: fallback(&mut section, &own_name, names),
        min_completion_tokens: section
            .read("min_completion_tokens", number(0..=100_000_000))
            .unwrap_or(0),
        context_window: section.read("context_window", number(1..=100_000_000)),
        rag: rag(section.section("rag")),
        name: own_name,
    };
    if model.rag.workspace_id.as_ref().is_some_and(Vec::is_empty) {
        section.fault(
            "rag.workspace_id",
            "an empty bound would let nothing through",
            "name workspaces, or leave it out for no bound",
        );
    }
    if let Some(problem) = check_rewriting(&model.rag, base, &section.path_of("rag")) {
        section.report(problem);
    }
    if let Some(Err(fault)) = model
        .rag
        .rewrite_model
        .as_deref()
        .map(|name| names.check_nameable(name))
    {
        section.fault("rag.rewrite_model", fault.wrong, fault.remedy);
    }
    section.finish();
    upstream.map(|_| model)
}

fn upstream(section: &mut Section<'_>, names: &Names<'_>) -> Option<String> {
    let is_given = section.gives("upstream");
    let written = section.read("upstream", name);
    if is_given {
        let upstream = written?;
        if let Err(fault) = names.check_upstream(&upstream) {
            section.fault("upstream", fault.wrong, fault.remedy);
            return None;
        }
        return Some(upstream);
    }
    match (names.default_upstream, names.upstreams.names.as_slice()) {
        (Some(upstream), _) => Some(upstream.to_owned()),
        (None, [only]) => Some(only.clone()),
        (None, []) => None,
        (None, several) => {
            let remedy = suggestion("", several.iter().map(String::as_str));
            section.fault(
                "upstream",
                "it is not said which upstream has this model",
                remedy,
            );
            None
        }
    }
}

fn fallback(section: &mut Section<'_>, own_name: &str, names: &Names<'_>) -> Vec<String> {
    let fallback = section.read("fallback", list(name)).unwrap_or_default();
    for entry in &fallback {
        if entry == own_name {
            section.fault(
                "fallback",
                format!("`{entry}` would fall back to itself"),
                "name another model",
            );
        } else if let Err(fault) = names.check_configured(entry) {
            section.fault("fallback", fault.wrong, fault.remedy);
        }
    }
    fallback
}
