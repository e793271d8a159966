//! One reading of a configuration: what was asked for, what is wrong, and which variables nobody asked for.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    contents::Contents,
    document::Value,
    environment::Environment,
    problem::{Problem, closest},
};

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "GROUNDWIRE_";

/// Variables of ours that are no settings: they say where the configuration is, or belong to the client commands.
const OTHER_VARIABLES: [&str; 3] = ["GROUNDWIRE_CONFIG", "GROUNDWIRE_KEY", "GROUNDWIRE_URL"];

/// One reading of a configuration: what was asked for, and what is wrong.
pub(super) struct Reading<'e> {
    pub(super) env: &'e Environment,
    /// Where relative paths to its parts begin.
    pub(super) folder: PathBuf,
    contents: RefCell<Contents>,
    problems: RefCell<Vec<Problem>>,
    variables: RefCell<BTreeSet<String>>,
    keys: RefCell<BTreeSet<String>>,
    /// Texts in which a reference was replaced: no problem may quote them.
    hidden: RefCell<BTreeSet<String>>,
}

impl<'e> Reading<'e> {
    /// A reading of files that are in `contents` already, or are read into it.
    pub(super) fn new(env: &'e Environment, contents: Contents) -> Self {
        Self {
            env,
            folder: contents.folder(),
            contents: RefCell::new(contents),
            problems: RefCell::default(),
            variables: RefCell::default(),
            keys: RefCell::default(),
            hidden: RefCell::default(),
        }
    }

    pub(super) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Keeps what a replaced reference made of a value out of all problems: what is told of it by names is told behind its setting's back.
    pub(super) fn hide(&self, value: &Value) {
        match value {
            Value::Text(text) => {
                let mut hidden = self.hidden.borrow_mut();
                // Of `upstream/model` either half may be told alone.
                let halves = text.split_once('/').map(|(first, second)| [first, second]);
                let texts = halves.into_iter().flatten().chain([text.as_str()]);
                hidden.extend(texts.map(|text| format!("`{text}`")));
            }
            Value::List(items) => items.iter().for_each(|item| self.hide(item)),
            _ => {}
        }
    }

    /// What stands in a part of the configuration.
    pub(super) fn contents(&self, path: &Path) -> io::Result<Arc<[u8]>> {
        self.contents.borrow_mut().read(path)
    }

    /// Gives back the files that were read.
    pub(super) fn take_contents(&self) -> Contents {
        self.contents.take()
    }

    /// Tells the variables of ours that no key asked for, and gives up all problems.
    pub(super) fn close(self) -> Vec<Problem> {
        let known = self.variables.into_inner();
        let mut problems = self.problems.into_inner();
        for (name, value) in self.env.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            if known.contains(name)
                || OTHER_VARIABLES.contains(&name)
                || is_service_link(name, value)
            {
                continue;
            }
            let candidates = known.iter().map(String::as_str).chain(OTHER_VARIABLES);
            let remedy = match closest(name, candidates) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "unset it; two underscores stand between a section and its key".to_owned(),
            };
            problems.push(Problem::new(name, "no setting has this variable", remedy));
        }
        for text in self.hidden.into_inner() {
            for problem in &mut problems {
                problem.wrong = problem.wrong.replace(&text, "its value");
                problem.remedy = problem.remedy.replace(&text, "its value");
            }
        }
        problems
    }

    /// Knows a key, with `*` for names that the operator chooses.
    pub(super) fn know_key(&self, key: String) {
        self.keys.borrow_mut().insert(key);
    }

    /// Knows a variable, and finds what it says.
    pub(super) fn variable(&self, name: &str) -> Option<&'e str> {
        self.variables.borrow_mut().insert(name.to_owned());
        self.env.get(name)
    }

    /// Lists every key that was read for, with `*` for names that the operator chooses.
    #[cfg(test)]
    pub(super) fn known_keys(&self) -> BTreeSet<String> {
        self.keys.borrow().clone()
    }
}

/// Whether Kubernetes set the variable: it gives each pod the addresses of the namespace's services, and one of them may be called `groundwire`.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_service_link(name: &str, value: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
}

/// Writes a name as it stands in variables: `scaleway-fr` as `SCALEWAY_FR`.
pub(super) fn in_variables(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect()
}
