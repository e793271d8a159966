//! Reading settings key by key: variable over file, references replaced, every fault gathered, unknown keys told.
//!
//! Deriving the mirror with serde would stop at the first fault; here each key that is read for becomes a known key, a known variable and a
//! suggestion for a mistyped one, with nothing to keep in step.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    document::{Table, Value},
    given::{self, Given},
    problem::{Fault, Problem, suggestion},
    reading::{PREFIX, Reading, in_variables},
};

impl Reading<'_> {
    /// Opens the whole document.
    pub(super) fn open(&self, table: Table) -> Section<'_> {
        let variable = Some(PREFIX.to_owned());
        Section {
            reading: self,
            origin: String::new(),
            path: String::new(),
            pattern: String::new(),
            variable,
            table,
            asked: Vec::new(),
        }
    }

    /// Opens a document of its own, told by the name of its file; it has no variables.
    pub(super) fn open_beside(&self, file: &Path, table: Table) -> Section<'_> {
        Section {
            origin: format!("{}: ", file.display()),
            variable: None,
            ..self.open(table)
        }
    }
}

/// A table of settings being read.
pub(super) struct Section<'r> {
    reading: &'r Reading<'r>,
    /// What stands before the path of every key: empty, or the name of another file than the main one.
    origin: String,
    path: String,
    pattern: String,
    /// What its variables begin with; `None` where there are none (`[[keys]]`).
    variable: Option<String>,
    table: Table,
    asked: Vec<&'static str>,
}

impl<'r> Section<'r> {
    /// Reads `key` as what `as_setting` makes of it; `None` when it is not there, or wrong, which is then reported.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        as_setting: impl FnOnce(&Given) -> Result<T, Fault>,
    ) -> Option<T> {
        match self.try_read(key, as_setting)? {
            Ok(setting) => Some(setting),
            Err(problem) => {
                self.reading.report(problem);
                None
            }
        }
    }

    /// Reads `key` and leaves it to the caller whether a fault matters.
    pub(super) fn try_read<T>(
        &mut self,
        key: &'static str,
        as_setting: impl FnOnce(&Given) -> Result<T, Fault>,
    ) -> Option<Result<T, Problem>> {
        let written = self.take(key);
        if let Some((variable, text)) = self.variable_for(key) {
            // A value from a variable is taken as it is: it may hold `${` on purpose, and the shell had its turn already.
            let given = Given {
                value: Value::Text(text),
                shown: true,
            };
            return Some(
                as_setting(&given)
                    .map_err(|fault| fault.at(format!("{variable} ({})", self.path_of(key)))),
            );
        }
        let mut shown = true;
        let setting = given::expand(self.reading.env, written?, &mut shown).and_then(|value| {
            if !shown {
                self.reading.hide(&value);
            }
            as_setting(&Given { value, shown })
        });
        Some(setting.map_err(|fault| fault.at(self.path_of(key))))
    }

    /// Opens the table `key`, empty when it is not written.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'r> {
        let table = match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => self.refuse(
                key,
                &other,
                "a section",
                format!("write `[{}]` and its keys below it", self.path_of(key)),
            ),
        };
        self.child(key, &self.path_of(key), &self.pattern_of(key), table)
    }

    /// Opens each table in the table `key`, by the names that the operator chose, in the order of the file.
    pub(super) fn entries(&mut self, key: &'static str) -> Vec<(String, Section<'r>)> {
        let table = match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => self.refuse(
                key,
                &other,
                "a section of named tables",
                format!("write `[{}.name]`", self.path_of(key)),
            ),
        };
        let mut entries = Vec::new();
        for (name, value) in table {
            let table = match value {
                Value::Table(table) => table,
                other => self.refuse(
                    key,
                    &other,
                    &format!("a table called {name:?}"),
                    format!("write `[{key}.{name}]`"),
                ),
            };
            let section = self.entry(key, &name, table);
            entries.push((name, section));
        }
        entries
    }

    /// Opens a table for each name that only variables give to one in the table `key`, such as `gpu` in
    /// `GROUNDWIRE_UPSTREAMS__GPU__BASE_URL`; `entries` are those of the file, whose variables are theirs.
    pub(super) fn entries_in_variables(
        &self,
        key: &'static str,
        entries: &[(String, Section<'r>)],
    ) -> Vec<(String, Section<'r>)> {
        let Some(prefix) = &self.variable else {
            return Vec::new();
        };
        let prefix = format!("{prefix}{}__", key.to_uppercase());
        let taken: Vec<&str> = entries
            .iter()
            .filter_map(|(_, section)| section.variable.as_deref())
            .collect();
        let variables = self.reading.env.iter().map(|(variable, _)| variable);
        let names: BTreeSet<String> = variables
            .filter(|variable| !taken.iter().any(|taken| variable.starts_with(taken)))
            .filter_map(|variable| variable.strip_prefix(&prefix)?.split_once("__"))
            .map(|(name, _)| name.to_lowercase())
            .filter(|name| !name.is_empty())
            .collect();
        names
            .into_iter()
            .map(|name| (name.clone(), self.entry(key, &name, Table::new())))
            .collect()
    }

    /// Opens the table `name` in the table `key`.
    pub(super) fn entry(&self, key: &'static str, name: &str, table: Table) -> Section<'r> {
        let path = format!("{}.{name:?}", self.path_of(key));
        let pattern = format!("{}.*", self.pattern_of(key));
        let mut section = self.child(key, &path, &pattern, table);
        section.variable = section
            .variable
            .map(|prefix| format!("{prefix}{}__", in_variables(name)));
        section
    }

    /// Opens each table of the list of tables `key`; they have no variables, because nothing tells which one is meant.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<Section<'r>> {
        let items = match self.take(key) {
            None => Vec::new(),
            Some(Value::List(items)) => items,
            Some(other) => self.refuse(
                key,
                &other,
                "a list of tables",
                format!("write `[[{key}]]`"),
            ),
        };
        let mut sections = Vec::new();
        for (position, item) in items.into_iter().enumerate() {
            let table = match item {
                Value::Table(table) => table,
                other => self.refuse(
                    key,
                    &other,
                    "a list of tables",
                    format!("write `[[{key}]]`"),
                ),
            };
            // Its own name tells a person more than its position.
            let path = match table.iter().find(|(name, _)| name == "name") {
                Some((_, Value::Text(name))) => format!("{}.{name:?}", self.path_of(key)),
                _ => format!("{}[{position}]", self.path_of(key)),
            };
            let mut section = self.child(key, &path, &format!("{key}.*"), table);
            section.variable = None;
            sections.push(section);
        }
        sections
    }

    /// Takes every key and value that is left, as texts: for tables such as `headers`, whose keys are the operator's.
    pub(super) fn rest<T>(
        mut self,
        as_setting: impl Fn(&str, &Given) -> Result<T, Fault>,
    ) -> Vec<T> {
        let mut settings = Vec::new();
        for (name, value) in std::mem::take(&mut self.table) {
            let mut shown = true;
            match given::expand(self.reading.env, value, &mut shown).and_then(|value| {
                as_setting(
                    &name,
                    &Given {
                        value,
                        shown: false,
                    },
                )
            }) {
                Ok(setting) => settings.push(setting),
                Err(fault) => self
                    .reading
                    .report(fault.at(format!("{}.{name:?}", self.path))),
            }
        }
        settings
    }

    /// Tells the keys that nothing asked for.
    pub(super) fn finish(self) {
        for (name, _) in &self.table {
            let remedy = suggestion(name, self.asked.iter().copied());
            self.reading.report(Problem::new(
                self.path_of(name),
                format!("no setting is called `{name}`"),
                remedy,
            ));
        }
    }

    /// Reports that `key` is wrong for a reason that takes more than its own value to see.
    pub(super) fn fault(&self, key: &str, wrong: impl Into<String>, remedy: impl Into<String>) {
        self.reading
            .report(Problem::new(self.path_of(key), wrong, remedy));
    }

    pub(super) fn report(&self, problem: Problem) {
        self.reading.report(problem);
    }

    /// Reports that the table itself is wrong.
    pub(super) fn fault_here(&self, wrong: impl Into<String>, remedy: impl Into<String>) {
        self.reading
            .report(Problem::new(self.path.clone(), wrong, remedy));
    }

    /// Knows `keys` without reading them, for a table that is of no use.
    pub(super) fn discard(&mut self, keys: &[&'static str]) {
        for key in keys {
            let _ = self.take(key);
            let _ = self.variable_for(key);
        }
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            format!("{}{key}", self.origin)
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The file that a setting names: a relative path begins where the configuration file is.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.reading.folder.join(path)
    }

    /// What stands in a file that a setting names.
    pub(super) fn contents(&self, path: &Path) -> io::Result<Arc<[u8]>> {
        self.reading.contents(path)
    }

    /// Opens the document in a file that a setting names.
    pub(super) fn document(&self, path: &Path, table: Table) -> Section<'r> {
        self.reading.open_beside(path, table)
    }

    /// Whether the file or a variable gives `key` a value; does not read it.
    pub(super) fn gives(&self, key: &str) -> bool {
        let variable = self
            .variable
            .as_ref()
            .map(|prefix| format!("{prefix}{}", key.to_uppercase()));
        self.table.iter().any(|(name, _)| name == key)
            || variable.is_some_and(|name| self.reading.env.get(&name).is_some())
    }

    fn pattern_of(&self, key: &str) -> String {
        if self.pattern.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.pattern)
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.reading.know_key(self.pattern_of(key));
        let position = self.table.iter().position(|(name, _)| name == key)?;
        Some(self.table.remove(position).1)
    }

    fn variable_for(&self, key: &str) -> Option<(String, String)> {
        let name = format!("{}{}", self.variable.as_ref()?, key.to_uppercase());
        let text = self.reading.variable(&name)?;
        Some((name, text.to_owned()))
    }

    fn child(&self, key: &str, path: &str, pattern: &str, table: Table) -> Section<'r> {
        let variable = self
            .variable
            .as_ref()
            .map(|prefix| format!("{prefix}{}__", key.to_uppercase()));
        Section {
            reading: self.reading,
            origin: String::new(),
            path: path.to_owned(),
            pattern: pattern.to_owned(),
            variable,
            table,
            asked: Vec::new(),
        }
    }

    fn refuse<T: Default>(&self, key: &str, found: &Value, wanted: &str, remedy: String) -> T {
        self.fault(
            key,
            format!("this is {wanted}, not {}", found.kind()),
            remedy,
        );
        T::default()
    }
}
