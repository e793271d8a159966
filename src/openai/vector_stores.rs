//! Vector stores: what a search asks, and what lists and searches answer.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{chat::Invalid, request, sound};

/// The most queries that one search may hold; they run at once.
pub const QUERIES_LIMIT: usize = 16;

/// A search in a vector store.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorStoreSearch {
    /// What is looked for; at least one, none of them blank.
    pub queries: Vec<String>,
    /// How many results at most, 1..=50.
    pub max_num_results: u16,
    /// Which files count.
    pub filters: Option<Filter>,
    /// How results are judged.
    pub ranker: Ranker,
    /// Results with a lower score are left out, 0..=1.
    pub score_threshold: f64,
    /// Whether a model may reword the queries.
    pub rewrite_query: bool,
}

/// How results are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranker {
    /// By the service's own choice.
    Auto,
    /// Not at all.
    None,
}

/// A condition on files.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// One attribute against one value.
    Compare {
        /// The attribute.
        key: String,
        /// How they compare.
        comparison: Comparison,
        /// The value: a text, a number, true or false, or for `in` and `nin` a list.
        value: Value,
    },
    /// Every one of these.
    And(Vec<Filter>),
    /// Any of these.
    Or(Vec<Filter>),
}

/// How an attribute compares with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// One of a list.
    In,
    /// None of a list.
    Nin,
}

/// A vector store as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VectorStore {
    /// Its id.
    pub id: String,
    object: &'static str,
    /// When it was made, in Unix seconds; 0 where nobody tells.
    pub created_at: i64,
    name: String,
    usage_bytes: u64,
    file_counts: FileCounts,
    status: &'static str,
    expires_at: Option<i64>,
    last_active_at: Option<i64>,
    metadata: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct FileCounts {
    in_progress: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    total: u64,
}

impl VectorStore {
    /// A store of `files` files, all of them told as completed: the service counts them without their states.
    pub fn new(id: String, name: String, created_at: i64, files: u64) -> Self {
        Self {
            id,
            object: "vector_store",
            created_at,
            name,
            usage_bytes: 0,
            file_counts: FileCounts {
                in_progress: 0,
                completed: files,
                failed: 0,
                cancelled: 0,
                total: files,
            },
            status: "completed",
            expires_at: None,
            last_active_at: None,
            metadata: Map::new(),
        }
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchPage {
    object: &'static str,
    search_query: Vec<String>,
    data: Vec<SearchResult>,
    has_more: bool,
    next_page: Option<String>,
}

/// One thing that a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchResult {
    /// The file it stands in.
    pub file_id: String,
    /// That file's name.
    pub filename: String,
    /// How well it fits, 0..=1.
    pub score: f64,
    /// What is known of the file and of the place in it: at most 16 texts, numbers, true or false.
    pub attributes: Map<String, Value>,
    /// The text itself.
    pub content: [Content; 1],
}

/// A piece of text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Content {
    #[serde(rename = "type")]
    kind: &'static str,
    text: String,
}

impl Content {
    /// A piece of text.
    pub fn text(text: String) -> Self {
        Self { kind: "text", text }
    }
}

impl SearchPage {
    /// The only page of what `queries` found.
    pub fn new(queries: Vec<String>, data: Vec<SearchResult>) -> Self {
        Self {
            object: "vector_store.search_results.page",
            search_query: queries,
            data,
            has_more: false,
            next_page: None,
        }
    }
}

impl VectorStoreSearch {
    /// Reads a request body.
    pub fn parse(body: Bytes) -> Result<Self, Invalid> {
        let object = request::object(body)?;
        let mut search = Self {
            queries: Vec::new(),
            max_num_results: 10,
            filters: None,
            ranker: Ranker::Auto,
            score_threshold: 0.0,
            rewrite_query: request::flag(&object, "rewrite_query")?,
        };
        for (key, json) in object.entries().filter(|(_, json)| !json.is_null()) {
            let value: Value = json.read().map_err(|_| {
                let message = format!("`{key}` holds a number beyond every range");
                Invalid::value(key, message)
            })?;
            if let Some(twice) = sound::repeated_key(json) {
                let message = format!("`{twice}` stands twice in `{key}`; send it once");
                return Err(Invalid::value(key, message));
            }
            match key {
                "query" => search.queries = queries(value)?,
                "max_num_results" => search.max_num_results = max_num_results(&value)?,
                "filters" => search.filters = Some(Filter::read(&value)?),
                "ranking_options" => search.read_ranking(&value)?,
                "rewrite_query" => {}
                other => {
                    let message = format!(
                        "`{other}` is not a field of this search; it takes query, max_num_results, filters, ranking_options and rewrite_query"
                    );
                    return Err(Invalid::value(other, message));
                }
            }
        }
        if search.queries.is_empty() {
            return Err(Invalid::Missing("query".into()));
        }
        Ok(search)
    }

    fn read_ranking(&mut self, value: &Value) -> Result<(), Invalid> {
        let Some(options) = value.as_object() else {
            return Err(Invalid::value(
                "ranking_options",
                "`ranking_options` must be an object",
            ));
        };
        for (key, value) in options.iter().filter(|(_, value)| !value.is_null()) {
            match (key.as_str(), value) {
                ("ranker", Value::String(name)) if name == "none" => self.ranker = Ranker::None,
                ("ranker", Value::String(name))
                    if name == "auto" || name.starts_with("default") =>
                {
                    self.ranker = Ranker::Auto;
                }
                ("score_threshold", value)
                    if value
                        .as_f64()
                        .is_some_and(|number| (0.0..=1.0).contains(&number)) =>
                {
                    self.score_threshold = value.as_f64().unwrap_or_default();
                }
                (key, _) => {
                    let param = format!("ranking_options.{key}");
                    let takes = "`ranking_options` takes `ranker` (`auto` or `none`) and `score_threshold` (a number from 0 to 1)";
                    return Err(Invalid::value(param, takes));
                }
            }
        }
        Ok(())
    }
}

fn queries(value: Value) -> Result<Vec<String>, Invalid> {
    let bad = || {
        let message = format!(
            "`query` must be a text that is not blank, or a list of 1 to {QUERIES_LIMIT} such texts"
        );
        Invalid::value("query", message)
    };
    let items = match value {
        Value::String(text) => vec![Value::String(text)],
        Value::Array(items) if (1..=QUERIES_LIMIT).contains(&items.len()) => items,
        _ => return Err(bad()),
    };
    let texts = items.into_iter().map(|item| match item {
        Value::String(text) if !text.trim().is_empty() => Ok(text),
        _ => Err(bad()),
    });
    texts.collect()
}

fn max_num_results(value: &Value) -> Result<u16, Invalid> {
    let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
    number
        .filter(|number| (1..=50).contains(number))
        .ok_or_else(|| {
            Invalid::value(
                "max_num_results",
                "`max_num_results` must be a whole number from 1 to 50",
            )
        })
}

impl Filter {
    fn read(value: &Value) -> Result<Self, Invalid> {
        let bad = || {
            Invalid::value(
                "filters",
                "`filters` must be a comparison {\"type\", \"key\", \"value\"} or a compound {\"type\": \"and\" or \"or\", \"filters\": [...]}",
            )
        };
        let kind = value.get("type").and_then(Value::as_str).unwrap_or("eq");
        if let "and" | "or" = kind {
            let parts = value
                .get("filters")
                .and_then(Value::as_array)
                .filter(|parts| !parts.is_empty())
                .ok_or_else(bad)?;
            let parts: Result<Vec<Self>, Invalid> = parts.iter().map(Self::read).collect();
            return Ok(match kind {
                "and" => Self::And(parts?),
                _ => Self::Or(parts?),
            });
        }
        let comparison = Comparison::from_word(kind).ok_or_else(bad)?;
        let key = value
            .get("key")
            .and_then(Value::as_str)
            .filter(|key| !key.is_empty())
            .ok_or_else(bad)?;
        let against = value.get("value").ok_or_else(bad)?;
        let scalar = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
        let fits = match comparison {
            Comparison::In | Comparison::Nin => against
                .as_array()
                .is_some_and(|list| !list.is_empty() && list.iter().all(scalar)),
            _ => scalar(against),
        };
        if !fits {
            return Err(bad());
        }
        Ok(Self::Compare {
            key: key.to_owned(),
            comparison,
            value: against.clone(),
        })
    }
}

impl Comparison {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "gt" => Self::Gt,
            "gte" => Self::Gte,
            "lt" => Self::Lt,
            "lte" => Self::Lte,
            "in" => Self::In,
            "nin" => Self::Nin,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<VectorStoreSearch, Invalid> {
        VectorStoreSearch::parse(Bytes::from(text.to_owned()))
    }

    #[test]
    fn what_is_left_out_has_openais_default() {
        let search = parse(r#"{"query":"a","filters":null,"ranking_options":{}}"#).unwrap();
        assert_eq!(search.queries, ["a"]);
        assert_eq!((search.max_num_results, search.ranker), (10, Ranker::Auto));
        assert_eq!((search.filters, search.rewrite_query), (None, false));
    }

    #[test]
    fn a_bad_value_names_its_field() {
        for (text, field) in [
            (r#"{"query":[]}"#, "query"),
            (r#"{"query":" "}"#, "query"),
            (r#"{"query":["a",1]}"#, "query"),
            (r#"{"query":"a","max_num_results":0}"#, "max_num_results"),
            (r#"{"query":"a","max_num_results":51}"#, "max_num_results"),
            (r#"{"query":"a","max_num_results":"5"}"#, "max_num_results"),
            (r#"{"query":"a","filters":[]}"#, "filters"),
            (
                r#"{"query":"a","filters":{"type":"and","filters":[]}}"#,
                "filters",
            ),
            (
                r#"{"query":"a","filters":{"type":"in","key":"k","value":"v"}}"#,
                "filters",
            ),
            (
                r#"{"query":"a","filters":{"type":"like","key":"k","value":"v"}}"#,
                "filters",
            ),
            (
                r#"{"query":"a","ranking_options":{"score_threshold":2}}"#,
                "ranking_options.score_threshold",
            ),
            (
                r#"{"query":"a","ranking_options":{"ranker":"best"}}"#,
                "ranking_options.ranker",
            ),
            (r#"{"query":"a","rewrite_query":1}"#, "rewrite_query"),
            (r#"{"query":"a","limit":1}"#, "limit"),
        ] {
            match parse(text) {
                Err(Invalid::Value { param, .. }) => assert_eq!(param, field, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert_eq!(parse("{}").unwrap_err(), Invalid::Missing("query".into()));
        let many = format!(r#"{{"query":{:?}}}"#, vec!["q"; QUERIES_LIMIT + 1]);
        assert!(parse(&many).is_err());
    }
}
