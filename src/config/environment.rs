//! The environment as a value, so that tests bring their own, and the `${NAME}` references to it.

use std::{collections::BTreeMap, fs::File, io::Read};

use super::problem::Fault;

/// Variables by name.
///
/// An empty variable counts as one that is not set: `docker compose` passes `NAME=${NAME:-}` for what nobody filled in.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// Reads the environment of this process; nothing else in the program does.
    pub fn from_process() -> Self {
        // Lossy, because a variable of ours that is not UTF-8 must be told as a bad value, not silently passed over.
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        std::env::vars_os()
            .map(|(name, value)| (lossy(name), lossy(value)))
            .collect()
    }

    /// Finds a variable that is set and not empty.
    ///
    /// `CONSOLE_API_KEY` is the older name of `LIGHTON_API_KEY` (LightOn's guides use it) and is taken where that is unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = |name: &str| {
            self.variables
                .get(name)
                .map(String::as_str)
                .filter(|value| !value.is_empty())
        };
        match found(name) {
            None if name == "LIGHTON_API_KEY" => found("CONSOLE_API_KEY"),
            other => other,
        }
    }

    /// The environment without the variables whose names and values `is_out` takes.
    pub fn without(&self, is_out: impl Fn(&str, &str) -> bool) -> Self {
        let variables = self.variables.iter();
        let kept = variables.filter(|(name, value)| !is_out(name, value));
        Self {
            variables: kept
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }

    /// Lists the variables that are set and not empty.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(_, value)| !value.is_empty())
    }

    /// Replaces `${NAME}`, `${NAME:-default}` and `${file:PATH}` in `text`; `$${` stands for `${`.
    pub(super) fn expand(&self, text: &str) -> Result<Expanded, Fault> {
        let mut expanded = Expanded {
            text: String::with_capacity(text.len()),
            has_references: false,
        };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                expanded.text.push_str(before);
                expanded.text.push_str("${");
                rest = after;
                continue;
            }
            let Some((reference, after)) = after.split_once('}') else {
                return Err(Fault::new(
                    "a `${` is not closed",
                    "close it with `}`, or write `$${` for the characters themselves",
                ));
            };
            expanded.text.push_str(before);
            expanded.text.push_str(&self.resolve(reference)?);
            expanded.has_references = true;
            rest = after;
        }
        expanded.text.push_str(rest);
        Ok(expanded)
    }

    fn resolve(&self, reference: &str) -> Result<String, Fault> {
        if let Some(path) = reference.strip_prefix("file:") {
            return read_secret(path);
        }
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_variable_name(name) {
            return Err(Fault::new(
                "a `${…}` names no variable",
                "write `${NAME}`, `${NAME:-default}` or `${file:/path}`, or `$${` for the characters themselves",
            ));
        }
        match (self.get(name), default) {
            (Some(value), _) => Ok(value.to_owned()),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(Fault::new(
                format!("the variable `{name}` is not set"),
                format!("set it, or write `${{{name}:-default}}`"),
            )),
        }
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self {
            variables: variables.into_iter().collect(),
        }
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Names only: the values are where secrets live.
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

/// A text after its references were replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// Whether anything was replaced: then the text may hold a secret and is never shown.
    pub(super) has_references: bool,
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Reads a mounted secret without the line break that editors leave at its end.
fn read_secret(path: &str) -> Result<String, Fault> {
    // A secret is a line or a key; the bound keeps a mistyped path (`/dev/zero`) from filling the memory.
    const LONGEST_BYTES: u64 = 64 * 1024;
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST_BYTES).read_to_string(&mut text))
        .map_err(|error| {
            Fault::new(
                format!("the file `{path}` cannot be read ({error})"),
                "mount it, or mend the path",
            )
        })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expand(text: &str) -> Result<String, String> {
        let env = Environment::from([("NAME", "value"), ("EMPTY", "")]);
        env.expand(text)
            .map(|expanded| expanded.text)
            .map_err(|fault| fault.wrong)
    }

    #[test]
    fn references_are_replaced() {
        for (text, expanded) in [
            ("plain", "plain"),
            ("${NAME}", "value"),
            ("a ${NAME}, ${NAME}.", "a value, value."),
            ("${MISSING:-default}", "default"),
            ("${EMPTY:-default}", "default"),
            ("${NAME:-default}", "value"),
            ("${MISSING:-}", ""),
            ("$${NAME}", "${NAME}"),
            ("costs $5 {here}", "costs $5 {here}"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expanded), "{text}");
        }
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_told() {
        for (text, wrong) in [
            ("${MISSING}", "the variable `MISSING` is not set"),
            ("${EMPTY}", "the variable `EMPTY` is not set"),
            ("${NAME", "a `${` is not closed"),
            ("${}", "a `${…}` names no variable"),
            ("${two words}", "a `${…}` names no variable"),
        ] {
            assert_eq!(expand(text), Err(wrong.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_secret_file_is_read_without_its_last_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "from a file\n").unwrap();

        assert_eq!(
            expand(&format!("${{file:{}}}", path.display())).as_deref(),
            Ok("from a file")
        );
        assert!(
            expand("${file:/no/such/file}")
                .unwrap_err()
                .starts_with("the file `/no/such/file` cannot be read")
        );
    }

    #[test]
    fn the_older_name_of_the_search_key_is_taken_where_the_newer_is_unset() {
        let older = Environment::from([("CONSOLE_API_KEY", "older"), ("LIGHTON_API_KEY", "")]);
        let both = Environment::from([("CONSOLE_API_KEY", "older"), ("LIGHTON_API_KEY", "newer")]);

        assert_eq!(older.get("LIGHTON_API_KEY"), Some("older"));
        assert_eq!(both.get("LIGHTON_API_KEY"), Some("newer"));
    }

    #[test]
    fn what_it_holds_is_not_printed() {
        assert_eq!(
            format!("{:?}", Environment::from([("KEY", "sk-secret")])),
            r#"{"KEY"}"#
        );
    }

    proptest! {
        #[test]
        fn text_without_a_reference_stays_as_it_is(text in "[^$]*") {
            prop_assert_eq!(expand(&text), Ok(text));
        }

        #[test]
        fn any_text_is_expanded_or_refused(text in r"[\$\{\}:\-A-Z a-z]*") {
            let _ = expand(&text);
        }
    }
}
