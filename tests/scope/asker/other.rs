//! Searches in vector stores, files and uploads.

use std::fmt::Write as _;

use serde_json::json;

use super::Asker;
use crate::{
    asking::{Form, Lookup, Presented},
    lighton::some_workspace,
    world::{FILES, HOMELESS, World},
};

impl Asker<'_> {
    pub(crate) fn lookup(&mut self, key: Presented, question: &str) -> Lookup {
        let store = self.store(key);
        let mut body = format!("{{\"query\":{}", json!(question));
        let mut nonsense = false;
        match self.rng.u8(..10) {
            0 => {
                let file = self.file(key);
                let _ = write!(
                    body,
                    ",\"filters\":{{\"type\":\"eq\",\"key\":\"file_id\",\"value\":{file}}}"
                );
            }
            1 => {
                let files = [self.file(key), self.file(key)];
                let _ = write!(
                    body,
                    ",\"filters\":{{\"type\":\"in\",\"key\":\"file_id\",\"value\":{files:?}}}"
                );
            }
            2 => body
                .push_str(",\"filters\":{\"type\":\"eq\",\"key\":\"workspace_id\",\"value\":12}"),
            3 => {
                nonsense = true;
                body.push_str(",\"filters\":{\"type\":\"ne\",\"key\":\"file_id\",\"value\":1001}");
            }
            4 => body.push_str(",\"rewrite_query\":true"),
            5 => {
                nonsense = true;
                body.push_str(",\"workspace_id\":[12]");
            }
            _ => {}
        }
        body.push('}');
        Lookup {
            store,
            body,
            nonsense,
        }
    }

    pub(crate) fn store(&mut self, key: Presented) -> String {
        let id = self.workspaces(key)[0];
        match self.rng.u8(..16) {
            0 => format!("0{id}"),
            1 => format!("+{id}"),
            2 => format!("vs_vs_{id}"),
            3 => format!("{id}%2F..%2F11"),
            4 => format!("-{id}"),
            5..10 => format!("vs_{id}"),
            _ => id.to_string(),
        }
    }

    pub(crate) fn file_name(&mut self, key: Presented) -> String {
        let id = self.file(key);
        match self.rng.u8(..16) {
            0 => format!("0{id}"),
            1 => format!("{id}%2Fdownload"),
            2 => format!("..%2Fworkspaces%2F{id}"),
            3 => format!("file-file-{id}"),
            4..8 => format!("file-{id}"),
            _ => id.to_string(),
        }
    }

    /// A file, mostly one of the caller's.
    pub(super) fn file(&mut self, key: Presented) -> i64 {
        match self.rng.u8(..16) {
            0 => HOMELESS,
            1 => 1000 + FILES + 1,
            2 => self.rng.i64(1..),
            _ => {
                let ids = self.workspaces(key);
                let files: Vec<i64> = World::files(ids[0]).collect();
                files[self.rng.usize(..files.len())]
            }
        }
    }

    pub(crate) fn form(&mut self, key: Presented) -> Form {
        let ids = self.workspaces(key);
        let id = ids[0];
        let mut form = Form {
            said: Vec::new(),
            header: None,
            fields: Vec::new(),
            late: self.rng.u8(..4) == 0,
            nonsense: false,
        };
        match self.rng.u8(..10) {
            0 => {}
            1 => {
                form.header = Some(id.to_string());
                form.said = vec![id];
            }
            2 => {
                form.fields
                    .push(("rag", format!("{{\"workspace_id\":{id}}}")));
                form.said = vec![id];
            }
            3 => {
                form.fields.push(("workspace_id", "*".to_owned()));
                form.nonsense = true;
            }
            4 => {
                let other = some_workspace(self.rng);
                form.fields.push(("workspace_id", id.to_string()));
                form.fields.push(("workspace_id", other.to_string()));
                form.said = vec![id, other];
            }
            5 => {
                let other = some_workspace(self.rng);
                form.header = Some(id.to_string());
                form.fields.push(("workspace_id", other.to_string()));
                form.said = vec![id, other];
            }
            _ => {
                form.fields.push(("workspace_id", id.to_string()));
                form.said = vec![id];
            }
        }
        form
    }
}
