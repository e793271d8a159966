//! What is wrong with a configuration: where, what, and how to mend it.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key path (`models."kb".upstream`), the variable, or the file.
    pub key: String,
    /// What is wrong with it; never the text of a secret.
    pub wrong: String,
    /// How to mend it.
    pub remedy: String,
}

impl Problem {
    /// Says that `key` is wrong in this way and mended in that.
    pub fn new(
        key: impl Into<String>,
        wrong: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            key: key.into(),
            wrong: wrong.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.key, self.wrong, self.remedy)
    }
}

/// Everything that is wrong with a configuration, at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    source: String,
    list: Vec<Problem>,
}

impl Problems {
    /// Gathers what is wrong with `source`, the file's name or "the environment".
    pub(super) fn new(source: impl Into<String>, list: Vec<Problem>) -> Self {
        Self {
            source: source.into(),
            list,
        }
    }

    /// Gives what they are problems of: the file's name, or "the environment".
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Lists the problems in the order they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.list.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "the configuration has {count} {noun} ({}):", self.source)?;
        for (number, problem) in (1..).zip(&self.list) {
            write!(f, "\n{number:>4}. {problem}")?;
        }
        Ok(())
    }
}

/// What is wrong with a value, before it is known where the value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) wrong: String,
    pub(super) remedy: String,
}

impl Fault {
    pub(super) fn new(wrong: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            wrong: wrong.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn at(self, key: impl Into<String>) -> Problem {
        Problem {
            key: key.into(),
            wrong: self.wrong,
            remedy: self.remedy,
        }
    }
}

/// Finds the candidate that `word` was most likely meant to be.
///
/// Jaro-Winkler favours a common beginning, which is how `scaleway` finds `scaleway-fr`; below 0.85 unlike words begin to match.
pub(super) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.85)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// Says which name was likely meant, or else which names there are.
pub(super) fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match closest(word, candidates.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if candidates.is_empty() => "there is none to name".to_owned(),
        None => format!("write one of {}", listed(candidates)),
    }
}

/// Writes names one after the other, each in backticks.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_the_one_that_was_meant() {
        for (word, meant) in [
            ("scaleway", "scaleway-fr"),
            ("max_result", "max_results"),
            ("handbok", "handbook"),
        ] {
            assert_eq!(
                closest(word, ["rag", "scaleway-fr", "max_results", "handbook"]),
                Some(meant),
                "{word}"
            );
        }
        assert_eq!(closest("zzz", ["rag", "scaleway-fr"]), None);
    }

    #[test]
    fn a_list_of_problems_is_numbered_under_one_line_that_counts_them() {
        let one = Problem::new(
            "rag.mode",
            "nothing is called `on`",
            "write one of `tool`, `off`",
        );
        let two = Problem::new("keys", "there is none", "make one");

        let told = Problems::new("groundwire.toml", vec![one, two]).to_string();

        assert_eq!(
            told,
            "the configuration has 2 problems (groundwire.toml):\n   \
             1. rag.mode: nothing is called `on`; write one of `tool`, `off`\n   \
             2. keys: there is none; make one"
        );
    }
}
