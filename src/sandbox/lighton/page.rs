//! The envelope of every v3 list: `{"count", "next", "previous", "results"}`.

use serde::Serialize;
use serde_json::Value;

use crate::sandbox::json::Json;

use super::{PREFIX, error::Error, params::Params};

/// How many items a page has when nothing else is asked for.
const DEFAULT_SIZE: usize = 20;

/// How many items a page has at most; more are not refused but cut, as Django REST framework does.
const LARGEST_SIZE: usize = 100;

/// One page of a list.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    count: usize,
    next: Option<String>,
    previous: Option<String>,
    results: Vec<Value>,
}

/// The page of `items` that `params` ask for, each item in the shape that `show` gives it.
pub(super) fn page<T>(
    params: &Params,
    items: Vec<T>,
    show: impl Fn(&T) -> Value,
) -> Result<Json<Page>, Error> {
    let size = match params.one("page_size").map(str::parse::<usize>) {
        Some(Ok(size)) if size > 0 => size.min(LARGEST_SIZE),
        Some(_) | None => DEFAULT_SIZE,
    };
    let last = items.len().div_ceil(size).max(1);
    let number = match params.one("page") {
        None => 1,
        Some("last") => last,
        Some(text) => text
            .parse()
            .ok()
            .filter(|number| (1..=last).contains(number))
            .ok_or(Error::NotFound("Page"))?,
    };
    Ok(Json(Page {
        count: items.len(),
        next: (number < last).then(|| params.address_of_page(PREFIX, number + 1)),
        previous: (number > 1).then(|| params.address_of_page(PREFIX, number - 1)),
        results: items
            .iter()
            .skip((number - 1) * size)
            .take(size)
            .map(show)
            .collect(),
    }))
}
