//! `GET /files`: every filter and order of LightOn's list.

use std::{cmp::Ordering, collections::BTreeMap};

use axum::extract::State;
use serde_json::{Value, json};

use crate::{
    config::RelevanceScoring,
    retrieval::{Passage, SearchQuery},
    sandbox::{
        json::Json,
        library::File,
        lighton::{
            Service,
            error::Error,
            page::{Page, page},
            params::Params,
        },
    },
};

use super::shape;

/// The number of the one user that there is.
pub(super) const OWNER: i64 = 1;

/// Lists files and moves their statuses on. With `search`, in the order of relevance.
pub(in crate::sandbox::lighton) async fn list(
    State(service): State<Service>,
    params: Params,
) -> Result<Json<Page>, Error> {
    let wanted = filter(&params)?;
    let details = params.flag("include_details")?.unwrap_or_default();
    let mut files = service.library.look_at_all();
    files.retain(|file| wanted(file));
    sort(&mut files, params.one("ordering").unwrap_or("-created_at"))?;
    let mut chunks = BTreeMap::new();
    if let Some(text) = params.one("search") {
        chunks = relevant(&service, text).await?;
        let most = params.integer("max_documents", 1..=500)?.unwrap_or(50);
        files.retain(|file| chunks.contains_key(&file.id));
        let best = |file: &File| chunks.get(&file.id).map_or(usize::MAX, |(place, _)| *place);
        files.sort_by_key(best);
        files.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    }
    let details_of_search = params.flag("search_details")?.unwrap_or_default();
    let most_chunks = params
        .integer("search_details_chunks_limit", 1..=10)?
        .unwrap_or(3);
    page(&params, files, |file| {
        let mut item = match details {
            true => shape::details(&service.library, file),
            false => shape::listed(&service.library, file),
        };
        if let (true, Some((_, passages)), Some(members)) = (
            details_of_search,
            chunks.get(&file.id),
            item.as_object_mut(),
        ) {
            let most = usize::try_from(most_chunks).unwrap_or(usize::MAX);
            let relevant: Vec<Value> = passages.iter().take(most).map(chunk).collect();
            members.insert(
                "search_details".to_owned(),
                json!({"relevant_chunks": relevant}),
            );
        }
        item
    })
}

type Filter = Box<dyn Fn(&File) -> bool + Send + Sync>;

/// The filters that `params` ask for, all of which a file must pass.
fn filter(params: &Params) -> Result<impl Fn(&File) -> bool + use<>, Error> {
    let mut filters: Vec<Filter> = Vec::new();
    let workspaces = params.integers("workspace_id")?;
    let tags = params.integers("tag_id")?;
    let owners = params.integers("owner_id")?;
    let groups = params.integers("group_id")?;
    if !workspaces.is_empty() {
        filters.push(Box::new(move |file| {
            workspaces.contains(&file.workspace_id)
        }));
    }
    if !tags.is_empty() {
        filters.push(Box::new(move |file| {
            file.tags.iter().any(|tag| tags.contains(tag))
        }));
    }
    if !groups.is_empty() || !(owners.is_empty() || owners.contains(&OWNER)) {
        filters.push(Box::new(|_| false));
    }
    words(&mut filters, params, "extension", |file| file.extension());
    words(&mut filters, params, "status", |file| {
        file.life.status().to_owned()
    });
    words(&mut filters, params, "status_vision", |file| {
        match file.life.status() {
            "embedded" => "embedded".to_owned(),
            _ => "-".to_owned(),
        }
    });
    part(&mut filters, params, "title", |file| {
        file.title.to_lowercase()
    });
    part(&mut filters, params, "filename", |file| {
        file.filename.to_lowercase()
    });
    if let Some(earliest) = params.moment("created_at_after")? {
        filters.push(Box::new(move |file| file.created_at >= earliest));
    }
    if let Some(latest) = params.moment("created_at_before")? {
        filters.push(Box::new(move |file| file.created_at <= latest));
    }
    if let Some(earliest) = params.moment("updated_at_after")? {
        filters.push(Box::new(move |file| file.updated_at >= earliest));
    }
    if let Some(latest) = params.moment("updated_at_before")? {
        filters.push(Box::new(move |file| file.updated_at <= latest));
    }
    if let Some(fewest) = params.integer("total_pages_min", 0..=u64::MAX)? {
        filters.push(Box::new(move |file| u64::from(file.total_pages) >= fewest));
    }
    if let Some(most) = params.integer("total_pages_max", 0..=u64::MAX)? {
        filters.push(Box::new(move |file| u64::from(file.total_pages) <= most));
    }
    words(&mut filters, params, "upload_session_uuid", |file| {
        file.upload_session
            .map(|session| session.to_string())
            .unwrap_or_default()
    });
    words(
        &mut filters,
        params,
        "external_metadata__external_id",
        |file| {
            file.origin
                .as_ref()
                .map(|origin| origin.external_id.clone())
                .unwrap_or_default()
        },
    );
    words(
        &mut filters,
        params,
        "external_metadata__doc_type",
        |file| {
            file.origin
                .as_ref()
                .map(|origin| origin.doc_type.clone())
                .unwrap_or_default()
        },
    );
    Ok(move |file: &File| filters.iter().all(|filter| filter(file)))
}

/// Adds the filter that what `of` tells is one of the values of `name`, when there are any.
fn words(filters: &mut Vec<Filter>, params: &Params, name: &str, of: fn(&File) -> String) {
    let known: Vec<String> = params.all(name).into_iter().map(str::to_owned).collect();
    if !known.is_empty() {
        filters.push(Box::new(move |file| known.contains(&of(file))));
    }
}

/// Adds the filter that what `of` tells, in lower case, has the value of `name` in it, when there is one.
fn part(filters: &mut Vec<Filter>, params: &Params, name: &str, of: fn(&File) -> String) {
    if let Some(part) = params.one(name).map(str::to_lowercase) {
        filters.push(Box::new(move |file| of(file).contains(&part)));
    }
}

fn sort(files: &mut [File], ordering: &str) -> Result<(), Error> {
    let (field, descending) = match ordering.strip_prefix('-') {
        Some(field) => (field, true),
        None => (ordering, false),
    };
    let order: fn(&File, &File) -> Ordering = match field {
        "created_at" => |a, b| a.created_at.cmp(&b.created_at),
        "updated_at" => |a, b| a.updated_at.cmp(&b.updated_at),
        "filename" => |a, b| a.filename.cmp(&b.filename),
        "title" => |a, b| a.title.cmp(&b.title),
        "total_pages" => |a, b| a.total_pages.cmp(&b.total_pages),
        "size" => |a, b| a.size_bytes.cmp(&b.size_bytes),
        _ => {
            return Err(Error::field(
                "ordering",
                "invalid_choice",
                format!("\"{ordering}\" is not a valid choice."),
            ));
        }
    };
    // Equal ones by number, so that pages neither repeat nor miss a file.
    files.sort_by(|a, b| order(a, b).then(a.id.cmp(&b.id)));
    if descending {
        files.reverse();
    }
    Ok(())
}

/// The passages that fit `text`, by file, each file with its place among the files.
async fn relevant(
    service: &Service,
    text: &str,
) -> Result<BTreeMap<i64, (usize, Vec<Passage>)>, Error> {
    let mut query = SearchQuery::new(text);
    query.max_results = 100;
    query.relevance_scoring = RelevanceScoring::None;
    let found = service
        .library
        .run(move |library| library.search(&query))
        .await?;
    let mut by_file: BTreeMap<i64, (usize, Vec<Passage>)> = BTreeMap::new();
    for (place, passage) in found.passages.into_iter().enumerate() {
        by_file
            .entry(passage.source.file_id)
            .or_insert_with(|| (place, Vec::new()))
            .1
            .push(passage);
    }
    Ok(by_file)
}

fn chunk(passage: &Passage) -> Value {
    json!({
        "text": passage.content,
        "chunk_type": "text",
        "score": passage.score,
        "scores": {
            "text": passage.scores.text,
            "vision": passage.scores.vision,
            "keyword": passage.scores.keyword,
            "multivector": passage.scores.multivector,
            // No relevance scoring runs on this path, as with LightOn.
            "relevance": null,
        },
    })
}
