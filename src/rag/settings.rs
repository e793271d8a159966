//! How one request is grounded: what the operator, the key, the model and the request say, in that order.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName};
use serde::de::DeserializeOwned;

use crate::{
    config::{
        AllowOverrides, Citations, Mode, REQUEST_KEYS, Rag, RagLayer, RelevanceScoring, SearchMode,
        WorkspaceId,
    },
    openai::{Json, Object, chat::Invalid},
};

/// The longest list of ids that a request may name.
const IDS_LIMIT: usize = 1000;

/// What a request says of its own grounding, in `rag` or in `X-Rag-*` headers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RagOptions {
    /// How passages reach the model.
    pub mode: Option<Mode>,
    /// Narrows the scope to these.
    pub workspace_id: Option<BTreeSet<WorkspaceId>>,
    /// How many passages are asked for.
    pub max_results: Option<u16>,
    /// Documents with any of these tags.
    pub tag_id: Vec<i64>,
    /// These documents only.
    pub file_id: Vec<i64>,
    /// Facet paths.
    pub content_type: Vec<String>,
    /// Facet values.
    pub attribute: Vec<String>,
    /// Text, or page images.
    pub search_mode: Option<SearchMode>,
    /// How found passages are judged.
    pub relevance_scoring: Option<RelevanceScoring>,
    /// Searched instead of the query taken from the messages.
    pub query: Option<String>,
    /// Whether the answer is cited.
    pub citations: Option<Citations>,
    /// Drops passages whose relevance is known and lower.
    pub min_relevance: Option<f64>,
    /// Streams: tell what the gateway is doing.
    pub events: bool,
    named: Vec<&'static str>,
}

/// A key that the caller may not send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAllowed {
    /// The key.
    pub key: &'static str,
}

const MODE_HEADER: HeaderName = HeaderName::from_static("x-rag-mode");
const WORKSPACE_HEADER: HeaderName = HeaderName::from_static("x-rag-workspace-id");
const MAX_RESULTS_HEADER: HeaderName = HeaderName::from_static("x-rag-max-results");

impl RagOptions {
    /// Reads the `rag` object of a body and the `X-Rag-*` headers; the body wins.
    pub fn read(body: Option<&Json>, headers: &HeaderMap) -> Result<Self, Invalid> {
        let mut options = Self::default();
        options.read_headers(headers)?;
        if let Some(json) = body.filter(|json| !json.is_null()) {
            options.read_body(json)?;
        }
        if !options.file_id.is_empty() {
            let other = ["workspace_id", "tag_id"]
                .into_iter()
                .find(|key| options.named.contains(key));
            if let Some(other) = other {
                return Err(Invalid::value(
                    "rag.file_id",
                    format!("`rag.file_id` excludes `rag.{other}`; send one of them"),
                ));
            }
        }
        Ok(options)
    }

    /// Whether the caller may say all that it says.
    pub fn allowed(&self, by: &AllowOverrides) -> Result<(), NotAllowed> {
        let refused = self.named.iter().find(|key| match by {
            AllowOverrides::All => false,
            AllowOverrides::None => true,
            AllowOverrides::Only(keys) => !keys.contains(**key),
        });
        refused.map_or(Ok(()), |key| Err(NotAllowed { key }))
    }

    /// A header is named by the option that it stands for, and by its own name in the message.
    fn read_headers(&mut self, headers: &HeaderMap) -> Result<(), Invalid> {
        if let Some(text) = header(headers, &MODE_HEADER, "mode")? {
            let mode = Mode::from_word(text)
                .ok_or_else(|| bad_header(&MODE_HEADER, "mode", &words(Mode::WORDS)))?;
            self.mode = Some(mode);
            self.name("mode");
        }
        if let Some(text) = header(headers, &WORKSPACE_HEADER, "workspace_id")? {
            let takes = "one or more workspace numbers, such as `42,43`";
            let id = |text: &str| text.trim().parse().ok().filter(is_id);
            let ids: Option<BTreeSet<_>> = text
                .split(',')
                .map(|text| id(text).map(WorkspaceId))
                .collect();
            let ids = ids.ok_or_else(|| bad_header(&WORKSPACE_HEADER, "workspace_id", takes))?;
            self.workspace_id = Some(ids);
            self.name("workspace_id");
        }
        if let Some(text) = header(headers, &MAX_RESULTS_HEADER, "max_results")? {
            let takes = "a whole number from 1 to 100";
            let number = text
                .parse()
                .ok()
                .filter(|number| (1..=100).contains(number))
                .ok_or_else(|| bad_header(&MAX_RESULTS_HEADER, "max_results", takes))?;
            self.max_results = Some(number);
            self.name("max_results");
        }
        Ok(())
    }

    fn read_body(&mut self, json: &Json) -> Result<(), Invalid> {
        let object =
            Object::parse(json).ok_or_else(|| Invalid::value("rag", "`rag` must be an object"))?;
        if let Some(key) = object.duplicate_key() {
            let path = format!("rag.{key}");
            return Err(Invalid::value(
                &path,
                format!("`{path}` stands twice; send it once"),
            ));
        }
        for (key, value) in object.entries() {
            let Some(known) = REQUEST_KEYS.iter().copied().find(|known| *known == key) else {
                return Err(unknown(key));
            };
            if value.is_null() {
                continue;
            }
            self.read_key(known, value)?;
            self.name(known);
        }
        Ok(())
    }

    fn read_key(&mut self, key: &'static str, value: &Json) -> Result<(), Invalid> {
        match key {
            "mode" => self.mode = Some(read(key, value, &words(Mode::WORDS))?),
            "workspace_id" => {
                self.workspace_id = Some(ids(key, value)?.into_iter().map(WorkspaceId).collect())
            }
            "max_results" => {
                let number: u16 = read(key, value, "a whole number from 1 to 100")?;
                if !(1..=100).contains(&number) {
                    return Err(bad("rag.max_results", "a whole number from 1 to 100"));
                }
                self.max_results = Some(number);
            }
            "tag_id" => self.tag_id = ids(key, value)?,
            "file_id" => self.file_id = ids(key, value)?,
            "content_type" => self.content_type = texts(key, value)?,
            "attribute" => self.attribute = texts(key, value)?,
            "search_mode" => self.search_mode = Some(read(key, value, &words(SearchMode::WORDS))?),
            "relevance_scoring" => {
                self.relevance_scoring = Some(read(key, value, &words(RelevanceScoring::WORDS))?)
            }
            "query" => {
                let text: String = read(key, value, "a text")?;
                if text.trim().is_empty() {
                    return Err(bad("rag.query", "a text that is not empty"));
                }
                self.query = Some(text);
            }
            "citations" => self.citations = Some(read(key, value, "true, false or \"auto\"")?),
            "min_relevance" => {
                let number: f64 = read(key, value, "a number from 0 to 1")?;
                if !(0.0..=1.0).contains(&number) {
                    return Err(bad("rag.min_relevance", "a number from 0 to 1"));
                }
                self.min_relevance = Some(number);
            }
            _ => self.events = read(key, value, "true or false")?,
        }
        Ok(())
    }

    fn name(&mut self, key: &'static str) {
        if !self.named.contains(&key) {
            self.named.push(key);
        }
    }
}

/// Lays `layers` over the operator's settings, the later ones over the earlier, and what the request says over all of them.
pub fn settings(base: &Rag, layers: &[&RagLayer], options: &RagOptions) -> Rag {
    let mut rag = layers
        .iter()
        .fold(base.clone(), |rag, layer| rag.with(layer));
    set(&mut rag.mode, options.mode);
    set(&mut rag.max_results, options.max_results);
    set(&mut rag.search_mode, options.search_mode);
    set(&mut rag.relevance_scoring, options.relevance_scoring);
    set(&mut rag.citations, options.citations);
    set(&mut rag.min_relevance, options.min_relevance);
    rag
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn header<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    key: &str,
) -> Result<Option<&'a str>, Invalid> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        let message = format!("the header `{name}` stands twice; send it once");
        return Err(Invalid::value(format!("rag.{key}"), message));
    }
    let text = value
        .to_str()
        .map_err(|_| bad_header(name, key, "plain ASCII"))?;
    Ok(Some(text.trim()))
}

fn bad_header(name: &HeaderName, key: &str, takes: &str) -> Invalid {
    Invalid::value(
        format!("rag.{key}"),
        format!("the header `{name}` takes {takes}"),
    )
}

fn read<T: DeserializeOwned>(key: &str, value: &Json, takes: &str) -> Result<T, Invalid> {
    value.read().map_err(|_| bad(&format!("rag.{key}"), takes))
}

fn ids(key: &str, value: &Json) -> Result<Vec<i64>, Invalid> {
    let takes = "a whole number, 1 or more, or a list of them that is not empty";
    let ids = match value.read::<i64>() {
        Ok(one) => vec![one],
        Err(_) => read(key, value, takes)?,
    };
    if ids.is_empty() || ids.len() > IDS_LIMIT || !ids.iter().all(is_id) {
        return Err(bad(&format!("rag.{key}"), takes));
    }
    Ok(ids)
}

/// Whether LightOn could have given this number: it counts from 1.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "it filters what iterators and options hold"
)]
fn is_id(id: &i64) -> bool {
    *id >= 1
}

fn texts(key: &str, value: &Json) -> Result<Vec<String>, Invalid> {
    let takes = "a text or a list of texts that is not empty";
    if let Ok(one) = value.read::<String>() {
        return Ok(vec![one]);
    }
    let many: Vec<String> = read(key, value, takes)?;
    if many.is_empty() || many.len() > IDS_LIMIT {
        return Err(bad(&format!("rag.{key}"), takes));
    }
    Ok(many)
}

fn words(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("one of {}", quoted.join(", "))
}

fn bad(path: &str, takes: &str) -> Invalid {
    Invalid::value(path, format!("`{path}` takes {takes}"))
}

fn unknown(key: &str) -> Invalid {
    let path: String = format!("rag.{key}").chars().take(100).collect();
    let close = REQUEST_KEYS
        .iter()
        .copied()
        .max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
    let hint = match close.filter(|close| strsim::jaro_winkler(close, key) > 0.8) {
        Some(close) => format!("did you mean `rag.{close}`?"),
        None => format!("known keys: {}", REQUEST_KEYS.join(", ")),
    };
    Invalid::value(&path, format!("`{path}` is not a key of `rag`; {hint}"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn body(text: &'static str) -> Result<RagOptions, Invalid> {
        RagOptions::read(Some(&Json::parse(text.into()).unwrap()), &HeaderMap::new())
    }

    #[test]
    fn every_key_is_read() {
        let options = body(
            r#"{"mode":"tool","workspace_id":42,"max_results":7,"tag_id":[1],"content_type":"legal:*","attribute":["a:b"],
            "search_mode":"vision","relevance_scoring":"none","query":"q","citations":false,"min_relevance":0.5,"events":true}"#,
        )
        .unwrap();
        assert_eq!(options.mode, Some(Mode::Tool));
        assert_eq!(options.workspace_id, Some([WorkspaceId(42)].into()));
        assert_eq!(
            (options.max_results, options.tag_id, options.min_relevance),
            (Some(7), vec![1], Some(0.5))
        );
        assert_eq!(
            (options.content_type, options.attribute),
            (vec!["legal:*".to_owned()], vec!["a:b".to_owned()])
        );
        assert_eq!(
            (options.citations, options.events),
            (Some(Citations::Off), true)
        );
    }

    #[test]
    fn a_bad_value_names_its_path() {
        for (text, path) in [
            (r#"{"max_results":0}"#, "rag.max_results"),
            (r#"{"max_results":101}"#, "rag.max_results"),
            (r#"{"max_results":"5"}"#, "rag.max_results"),
            (r#"{"max_results":5.5}"#, "rag.max_results"),
            (r#"{"workspace_id":[]}"#, "rag.workspace_id"),
            (r#"{"workspace_id":"42"}"#, "rag.workspace_id"),
            (r#"{"workspace_id":-42}"#, "rag.workspace_id"),
            (r#"{"file_id":[1,0]}"#, "rag.file_id"),
            (r#"{"mode":"on"}"#, "rag.mode"),
            (r#"{"min_relevance":2}"#, "rag.min_relevance"),
            (r#"{"query":"  "}"#, "rag.query"),
            (r#"{"file_id":[1],"workspace_id":[2]}"#, "rag.file_id"),
            (r#"{"max_result":5}"#, "rag.max_result"),
            (r#"{"__proto__":{}}"#, "rag.__proto__"),
            (r#"{"mode":"off","mode":"tool"}"#, "rag.mode"),
            ("[]", "rag"),
        ] {
            match body(text).unwrap_err() {
                Invalid::Value { param, .. } => assert_eq!(param, path, "{text}"),
                other => panic!("{text}: {other}"),
            }
        }
    }

    #[test]
    fn the_body_wins_over_headers() {
        let mut headers = HeaderMap::new();
        headers.insert(MODE_HEADER, HeaderValue::from_static("off"));
        headers.insert(MAX_RESULTS_HEADER, HeaderValue::from_static("3"));
        headers.insert(WORKSPACE_HEADER, HeaderValue::from_static("42, 43"));
        let options = RagOptions::read(
            Some(&Json::parse(r#"{"mode":"inject"}"#.into()).unwrap()),
            &headers,
        )
        .unwrap();
        assert_eq!(options.mode, Some(Mode::Inject));
        assert_eq!(options.max_results, Some(3));
        assert_eq!(
            options.workspace_id,
            Some([WorkspaceId(42), WorkspaceId(43)].into())
        );
    }

    #[test]
    fn overrides_are_refused_by_name() {
        let options = body(r#"{"mode":"off","max_results":5}"#).unwrap();
        assert_eq!(options.allowed(&AllowOverrides::All), Ok(()));
        assert_eq!(
            options.allowed(&AllowOverrides::None),
            Err(NotAllowed { key: "mode" })
        );
        assert_eq!(
            options.allowed(&AllowOverrides::Only(["mode".to_owned()].into())),
            Err(NotAllowed { key: "max_results" })
        );
    }
}
