//! What must hold of a group of requests: everything that search was asked, everything that a model was told and everything that came out.

use std::{borrow::Cow, collections::BTreeSet};

use memchr::memmem;

use crate::{
    asking::{Ask, Kind},
    lighton::{Asked, Manner, What},
    model::Heard,
    oracle::{Permit, Verdict},
    world::Marker,
};

/// What came back for one request.
pub(crate) struct Outcome {
    pub(crate) ask: Ask,
    pub(crate) verdict: Verdict,
    pub(crate) status: u16,
    /// Names and values of the head, one after the other.
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// Requests that were made at the same moment, and all that became of them.
pub(crate) struct Group<'g> {
    pub(crate) outcomes: &'g [Outcome],
    /// Some before, whose last questions about files may have come late.
    pub(crate) before: &'g [Outcome],
    pub(crate) asked: &'g [Asked],
    pub(crate) heard: &'g [Heard],
    pub(crate) log: &'g [u8],
    pub(crate) manner: Manner,
}

impl Group<'_> {
    /// What is wrong, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        for asked in self.asked {
            let late = matches!(asked.what, What::File(_)).then_some(self.before);
            let mut callers = self.outcomes.iter().chain(late.into_iter().flatten());
            if !callers.any(|outcome| outcome.may_ask(asked)) {
                return Err(format!(
                    "search was asked outside every caller's scope: {asked:?}"
                ));
            }
        }
        for heard in self.heard {
            let of_case = |outcome: &&Outcome| heard.case == Some(outcome.ask.case);
            match (heard.case, self.outcomes.iter().find(of_case)) {
                (Some(_), Some(outcome)) => {
                    outcome.check_text("the model was told", &heard.body)?
                }
                // A model that rewords a query is told the conversation, and no passage.
                (None, None) => none_in("a model was told", &heard.body)?,
                (case, _) => {
                    return Err(format!(
                        "a model was asked for case {case:?}, which is none of these"
                    ));
                }
            }
        }
        for outcome in self.outcomes {
            outcome.check_text("the head of the answer says", &outcome.head)?;
            outcome.check_text("the answer says", &without_ids_of_dropped(&outcome.body))?;
            outcome.check_status(self.manner)?;
        }
        let permits: Vec<&Permit> = self.outcomes.iter().filter_map(Outcome::permit).collect();
        for marker in Marker::all_in(self.log) {
            if !permits.iter().any(|permit| permit.holds(marker)) {
                return Err(format!(
                    "the log tells {marker} of {marker:?}: {}",
                    around(self.log, marker)
                ));
            }
        }
        Ok(())
    }
}

impl Outcome {
    fn permit(&self) -> Option<&Permit> {
        match &self.verdict {
            Verdict::May(permit) => Some(permit),
            Verdict::Refused => None,
        }
    }

    fn may_ask(&self, asked: &Asked) -> bool {
        // Where a file lives may be asked for whoever names it; the key is known by what is allowed, or it is a lookup before the refusal.
        if let What::File(_) = asked.what {
            return self.names_files()
                && self
                    .permit()
                    .is_none_or(|permit| asked.key == Some(permit.key));
        }
        let Some(permit) = self.permit().filter(|permit| asked.key == Some(permit.key)) else {
            return false;
        };
        let all = |ids: &[i64]| !ids.is_empty() && ids.iter().all(|id| permit.holds_workspace(*id));
        match &asked.what {
            What::Search { workspaces, files } => {
                permit.searches
                    && match workspaces {
                        // Not only within: nothing of the scope is left out in silence either.
                        Some(ids) => {
                            let ids: BTreeSet<i64> = ids.iter().copied().collect();
                            files.is_empty() && permit.workspaces.as_ref() == Some(&ids)
                        }
                        None if files.is_empty() => permit.workspaces.is_none(),
                        None => files.iter().all(|file| permit.holds_file(*file)),
                    }
            }
            What::Download(file) => {
                matches!(
                    self.ask.kind,
                    Kind::File { content: true, .. } | Kind::Source(_) | Kind::Opened { .. }
                ) && permit.holds_file(*file)
            }
            What::Delete(file) => {
                matches!(
                    self.ask.kind,
                    Kind::File {
                        method: "DELETE",
                        ..
                    }
                ) && permit.holds_file(*file)
            }
            What::Files(workspaces) => match workspaces {
                Some(ids) => all(ids),
                None => permit.workspaces.is_none(),
            },
            What::Upload(workspace) => {
                matches!(&self.ask.kind, Kind::Upload(form) if form.said.iter().all(|said| Some(*said) == *workspace))
                    && workspace.is_some_and(|id| permit.holds_workspace(id))
            }
            What::Workspace(id) => permit.holds_workspace(*id),
            What::Workspaces => matches!(self.ask.kind, Kind::Get(_)),
            What::File(_) | What::Else(_) => false,
        }
    }

    fn check_text(&self, what: &str, text: &[u8]) -> Result<(), String> {
        let Some(permit) = self.permit() else {
            return none_in(what, text);
        };
        match Marker::all_in(text).find(|marker| !permit.holds(*marker)) {
            Some(marker) => Err(format!(
                "{what} {marker}, of {marker:?}, beyond {permit:?}: {}",
                around(text, marker)
            )),
            None => Ok(()),
        }
    }

    fn check_status(&self, manner: Manner) -> Result<(), String> {
        let said = || format!("{} {}", self.status, String::from_utf8_lossy(&self.body));
        match &self.verdict {
            Verdict::Refused if (400..500).contains(&self.status) => Ok(()),
            // Nobody could be asked where the files live.
            Verdict::Refused if manner == Manner::Failing && self.names_files() => Ok(()),
            Verdict::Refused => Err(format!("this was to be refused: {}", said())),
            Verdict::May(permit)
                if permit.succeeds && manner != Manner::Failing && !self.may_fail() =>
            {
                if matches!(self.status, 200..300) {
                    Ok(())
                } else {
                    Err(format!("this was to succeed: {}", said()))
                }
            }
            Verdict::May(_) => Ok(()),
        }
    }

    /// Whether it may be asked for it where files live.
    pub(crate) fn names_files(&self) -> bool {
        match &self.ask.kind {
            Kind::Chat(chat) => chat.rag.iter().any(|(name, _)| *name == "file_id"),
            Kind::Lookup(_) | Kind::File { .. } | Kind::Source(_) | Kind::Opened { .. } => true,
            Kind::Upload(_) | Kind::Get(_) | Kind::Embeddings => false,
        }
    }

    fn may_fail(&self) -> bool {
        matches!(&self.ask.kind, Kind::Chat(chat) if chat.script.failures > 0)
    }
}

fn none_in(what: &str, text: &[u8]) -> Result<(), String> {
    match Marker::all_in(text).next() {
        Some(marker) => Err(format!(
            "{what} {marker}, of {marker:?}: {}",
            around(text, marker)
        )),
        None => Ok(()),
    }
}

/// The answer without the ids of passages that were left out for being outside the scope: those, and nothing else of them, the contract tells.
fn without_ids_of_dropped(body: &[u8]) -> Cow<'_, [u8]> {
    let mut rest = body;
    let mut kept = Vec::new();
    while let Some(end) = memmem::find(rest, b"\",\"reason\":\"scope\"}") {
        let id = memmem::rfind(&rest[..end], b"{\"chunk_id\":\"").unwrap_or(end);
        kept.extend_from_slice(&rest[..id]);
        rest = &rest[end + 1..];
    }
    if kept.is_empty() {
        return Cow::Borrowed(body);
    }
    kept.extend_from_slice(rest);
    Cow::Owned(kept)
}

/// The text around a marker.
fn around(text: &[u8], marker: Marker) -> String {
    let text = String::from_utf8_lossy(text);
    let at = text.find(&marker.to_string()).unwrap_or_default();
    let begin = text
        .char_indices()
        .map(|(index, _)| index)
        .take_while(|index| *index + 200 < at)
        .last()
        .unwrap_or_default();
    text[begin..].chars().take(500).collect()
}
