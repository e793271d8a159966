//! OpenAI's lists: `limit`, `order` and a cursor in the query, `first_id`, `last_id` and `has_more` in the answer.

use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use super::error::ApiError;
use crate::openai::Json;

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paging {
    /// How many items at most.
    pub(super) limit: usize,
    /// Which end comes first.
    pub(super) order: Order,
    /// Only what follows the item of this id.
    pub(super) after: Option<String>,
    /// Only what comes before the item of this id.
    pub(super) before: Option<String>,
}

/// Which end of a list comes first, by the time its items were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The oldest.
    Ascending,
    /// The newest.
    Descending,
}

impl Paging {
    /// Reads a query. `limit` is `most` at most and `default` where it is not said.
    pub(super) fn read(query: Option<&str>, default: usize, most: usize) -> Result<Self, ApiError> {
        let mut paging = Self {
            limit: default,
            order: Order::Descending,
            after: None,
            before: None,
        };
        for (key, value) in parameters(query) {
            match key.as_str() {
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=most).contains(limit));
                    paging.limit = limit
                        .ok_or_else(|| bad("limit", &format!("a whole number from 1 to {most}")))?;
                }
                "order" => {
                    paging.order = match value.as_str() {
                        "asc" => Order::Ascending,
                        "desc" => Order::Descending,
                        _ => return Err(bad("order", "`asc` or `desc`")),
                    };
                }
                "after" => paging.after = Some(value).filter(|id| !id.is_empty()),
                "before" => paging.before = Some(value).filter(|id| !id.is_empty()),
                _ => {}
            }
        }
        Ok(paging)
    }

    /// The same with the cursors' ids written with `prefix`, which may be left out.
    pub(super) fn prefixed(mut self, prefix: &str) -> Self {
        for cursor in [&mut self.after, &mut self.before].into_iter().flatten() {
            if !cursor.starts_with(prefix) {
                cursor.insert_str(0, prefix);
            }
        }
        self
    }

    /// The page of `items`, which are all there are, in order. A cursor that names none of them is a fault of the request: an answer
    /// from the beginning would let a client page for ever.
    pub(super) fn cut<T>(
        &self,
        mut items: Vec<T>,
        id_of: impl Fn(&T) -> &str,
    ) -> Result<Page<T>, ApiError> {
        if let Some(after) = &self.after {
            let at = items.iter().position(|item| id_of(item) == after);
            let at = at.ok_or_else(|| bad("after", "the id of an item of this list"))?;
            items.drain(..=at);
        }
        if let Some(before) = &self.before {
            let at = items.iter().position(|item| id_of(item) == before);
            let at = at.ok_or_else(|| bad("before", "the id of an item of this list"))?;
            // The page that ends right before the cursor.
            items.truncate(at);
            let more = items.len() > self.limit;
            items.drain(..items.len().saturating_sub(self.limit));
            return Ok(Page { items, more });
        }
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        Ok(Page { items, more })
    }
}

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page<T> {
    /// The items.
    pub(super) items: Vec<T>,
    /// Whether more follow.
    pub(super) more: bool,
}

impl<T: Serialize> Page<T> {
    /// The answer: OpenAI's list object. The ids of an empty page are empty, because OpenAI's schema of lists takes no `null` there.
    pub(super) fn respond(&self, id_of: impl Fn(&T) -> &str) -> Response {
        let first = self.items.first().map_or("", &id_of);
        let last = self.items.last().map_or("", &id_of);
        super::json(&Json::of(&json!({
            "object": "list", "data": self.items, "first_id": first, "last_id": last, "has_more": self.more,
        })))
    }
}

/// The parameters of a query, decoded.
pub(super) fn parameters(query: Option<&str>) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .into_owned()
        .collect()
}

/// A number in its one spelling: another spelling is another id, and there is nothing under it.
pub(super) fn number(text: &str) -> Option<i64> {
    text.parse::<i64>()
        .ok()
        .filter(|number| *number >= 0 && number.to_string() == text)
}

fn bad(param: &str, takes: &str) -> ApiError {
    ApiError::bad_request("invalid_value", format!("`{param}` takes {takes}")).param(param)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(query: &str) -> (Vec<&'static str>, bool) {
        let paging = Paging::read(Some(query), 2, 100).unwrap();
        let page = paging.cut(vec!["a", "b", "c", "d", "e"], |id| id).unwrap();
        (page.items, page.more)
    }

    #[test]
    fn a_cursor_stands_between_pages() {
        assert_eq!(cut(""), (vec!["a", "b"], true));
        assert_eq!(cut("after=b"), (vec!["c", "d"], true));
        assert_eq!(cut("after=c&limit=2"), (vec!["d", "e"], false));
        assert_eq!(cut("after=e"), (vec![], false));
        assert_eq!(cut("before=d"), (vec!["b", "c"], true));
        assert_eq!(cut("before=b"), (vec!["a"], false));
        assert_eq!(cut("limit=5"), (vec!["a", "b", "c", "d", "e"], false));
    }

    #[test]
    fn what_no_list_can_be_cut_by_is_refused() {
        for query in ["limit=0", "limit=101", "limit=x", "order=up"] {
            assert!(Paging::read(Some(query), 20, 100).is_err(), "{query}");
        }
        let paging = Paging::read(Some("after=z"), 20, 100).unwrap();
        assert!(paging.cut(vec!["a"], |id| id).is_err());
    }

    #[test]
    fn only_one_spelling_of_a_number_is_an_id() {
        assert_eq!(number("42"), Some(42));
        for text in ["", "042", "+42", "-1", "4.2", " 42", "99999999999999999999"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
