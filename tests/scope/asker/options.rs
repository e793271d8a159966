//! What a request says in `rag` and in `X-Rag-*` headers.

use super::Asker;
use crate::asking::{Meaning, Presented, Said};

impl Asker<'_> {
    pub(super) fn rag(&mut self, key: Presented, model: &str) -> Vec<(&'static str, Said)> {
        let mut rag = Vec::new();
        if self.rng.u8(..3) == 0 {
            return rag;
        }
        if self.rng.u8(..3) == 0 {
            rag.push(("workspace_id", self.said_workspaces(key, model)));
        }
        if self.rng.u8(..3) == 0 {
            rag.push(("mode", self.said_mode()));
        }
        if self.rng.u8(..8) == 0 {
            let said = match self.rng.u8(..6) {
                0 => Said::nonsense(
                    [
                        "0",
                        "101",
                        "5.5",
                        "\"5\"",
                        "1e400",
                        "-1",
                        "99999999999999999999",
                    ][self.rng.usize(..7)],
                ),
                _ => Said::other(self.rng.u8(1..20).to_string()),
            };
            rag.push(("max_results", said));
        }
        if self.rng.u8(..10) == 0 {
            rag.push(("file_id", self.said_files(key)));
        }
        if self.rng.u8(..16) == 0 {
            rag.push(("tag_id", Said::other("[7]")));
        }
        if self.rng.u8(..16) == 0 {
            rag.push(("query", Said::other("\"retention in workspace 12\"")));
        }
        if self.rng.u8(..16) == 0 {
            rag.push(("events", Said::other("true")));
        }
        if self.rng.u8(..16) == 0 {
            let (name, text) = [
                ("citations", "true"),
                ("attribute", "\"workspace:12\""),
                ("content_type", "\"*\""),
                ("search_mode", "\"vision\""),
                ("relevance_scoring", "\"none\""),
                ("min_relevance", "0.5"),
            ][self.rng.usize(..6)];
            rag.push((name, Said::other(text)));
        }
        if self.rng.u8(..40) == 0 {
            let (name, text) = [
                ("scope", "\"*\""),
                ("workspaces", "[1]"),
                ("__proto__", "{\"workspace_id\":[1]}"),
                ("Workspace_id", "[1]"),
                ("search_api_key", "\"lo-search-9\""),
                ("base_url", "\"http://127.0.0.1:1\""),
            ][self.rng.usize(..6)];
            rag.push((name, Said::nonsense(text)));
        }
        rag
    }

    /// Workspaces in one of the ways in which they can be said, or in one in which they cannot.
    pub(crate) fn said_workspaces(&mut self, key: Presented, model: &str) -> Said {
        let ids = self.workspaces_for(key, model);
        let first = ids[0];
        match self.rng.u8(..48) {
            0 => Said::nonsense("[]"),
            1 => Said::nonsense("\"*\""),
            2 => Said::nonsense(&format!("\"{first}\"")),
            3 => Said::nonsense(&format!("[[{first}]]")),
            4 => Said::nonsense("true"),
            5 => Said::nonsense(&format!("{first}.0")),
            6 => Said::nonsense("[1e400]"),
            7 => Said::nonsense(&format!("{{\"in\":[{first}]}}")),
            8 => Said::nonsense(&format!("[{first},null]")),
            9 => Said::nonsense("[123456789012345678901234567890]"),
            10 => Said {
                text: "null".to_owned(),
                meaning: Meaning::Nothing,
            },
            11 => Said::nonsense(["-1", "0", "[0]"][self.rng.usize(..3)]),
            12 => Said::ids(format!("[{first},{first}]"), vec![first]),
            13..24 => Said::ids(first.to_string(), vec![first]),
            _ => Said::ids(format!("{ids:?}"), ids),
        }
    }

    fn said_mode(&mut self) -> Said {
        let mode = ["inject", "tool", "off", "tool", "inject"][self.rng.usize(..5)];
        match self.rng.u8(..24) {
            0 => Said::nonsense("\"every\""),
            1 => Said::nonsense("[\"tool\"]"),
            2 => Said {
                text: "null".to_owned(),
                meaning: Meaning::Nothing,
            },
            _ => Said {
                text: format!("\"{mode}\""),
                meaning: Meaning::Mode(mode),
            },
        }
    }

    fn said_files(&mut self, key: Presented) -> Said {
        let mut files: Vec<i64> = (0..self.rng.usize(1..4)).map(|_| self.file(key)).collect();
        match self.rng.u8(..12) {
            0 => Said::nonsense("\"1001\""),
            1 => Said::nonsense("[1001.0]"),
            2 => {
                files.truncate(1);
                Said::ids(files[0].to_string(), files)
            }
            _ => Said::ids(format!("{files:?}"), files),
        }
    }

    pub(super) fn headers(&mut self, key: Presented, model: &str) -> Vec<(&'static str, Said)> {
        let mut headers = Vec::new();
        if self.rng.u8(..3) > 0 {
            let ids = self.workspaces_for(key, model);
            let list = ids.iter().map(ToString::to_string).collect::<Vec<_>>();
            let said = match self.rng.u8(..16) {
                0 => Said::nonsense("*"),
                1 => Said::nonsense(""),
                2 => Said::nonsense(&format!("{},", list[0])),
                3 => Said::nonsense(&format!("[{}]", list[0])),
                4 => Said::nonsense(&format!("{};11", list[0])),
                5 => Said::nonsense("0x2a"),
                6 => Said::nonsense("1 2"),
                7 => Said::nonsense("99999999999999999999999"),
                _ => Said::ids(list.join([",", ", ", " , "][self.rng.usize(..3)]), ids),
            };
            headers.push(("workspace_id", said));
            if self.rng.u8(..16) == 0 {
                // Twice the same header: nobody shall have to know which one counts.
                headers.push(("workspace_id", Said::nonsense("11")));
            }
        }
        if self.rng.u8(..3) == 0 {
            let mode = ["inject", "tool", "off"][self.rng.usize(..3)];
            headers.push((
                "mode",
                match self.rng.u8(..8) {
                    0 => Said::nonsense("all"),
                    _ => Said {
                        text: mode.to_owned(),
                        meaning: Meaning::Mode(mode),
                    },
                },
            ));
        }
        if self.rng.u8(..6) == 0 {
            headers.push((
                "max_results",
                match self.rng.u8(..4) {
                    0 => Said::nonsense("1e2"),
                    _ => Said::other("4"),
                },
            ));
        }
        headers
    }
}
