//! `POST /search`: what the library holds on a query, in LightOn's shape.
//!
//! Where LightOn's documentation is silent: an empty list is no filter; ids that name nothing are passed over beside ids that name
//! something, and refused (403) when all of a filter do; unknown fields are ignored. There are no facets here, so that a filter by
//! `content_type` or `attribute` finds nothing. `mode: "vision"` finds pages by their text and answers as LightOn does for page images.

use axum::extract::{Request, State};
use serde_json::{Value, json};

use crate::{
    config::{RelevanceScoring, SearchMode, WorkspaceId},
    retrieval::{Passage, SearchQuery},
    sandbox::json::Json,
};

use super::{
    Contract, Service,
    body::{self, Bodies},
    error::Error,
    fields::Fields,
    image,
};

/// The width and height that boxes count with: an A4 page, in PDF points. The readers tell no page's own size.
const PAGE_POINTS: (f64, f64) = (595.0, 842.0);

/// Answers a search.
pub(super) async fn search(
    State(service): State<Service>,
    request: Request,
) -> Result<Json<Value>, Error> {
    let mut fields = body::read(request, Bodies::Any).await?;
    let mut query = query(&mut fields, service.contract);
    fields.finish()?;
    if !service.library.reaches(&query) {
        return Err(Error::Forbidden(
            "API key has no authorized resources matching the provided filters.",
        ));
    }
    if !query.content_type.is_empty() || !query.attribute.is_empty() {
        return Ok(Json(json!({"results": []})));
    }
    let contract = service.contract;
    let asked = query.clone();
    // The index knows no images: pages are found by their text.
    query.mode = SearchMode::Text;
    let found = service
        .library
        .run(move |library| library.search(&query))
        .await?;
    let results: Vec<Value> = found
        .passages
        .iter()
        .map(|passage| result(passage, &asked, contract))
        .collect();
    Ok(Json(json!({"results": results})))
}

fn query(fields: &mut Fields, contract: Contract) -> SearchQuery {
    let (longest, most) = match contract {
        Contract::ObjectScore => (1500, 50),
        Contract::FloatScore => (4000, 100),
    };
    fields.demand("query");
    let mut query = SearchQuery::new(fields.text("query", longest).unwrap_or_default());
    if let Some(most) = fields.integer("max_results", 1..=most) {
        query.max_results = u16::try_from(most).unwrap_or(u16::MAX);
    }
    let workspaces = fields.integers("workspace_id").unwrap_or_default();
    query.tag_id = fields.integers("tag_id").unwrap_or_default();
    query.file_id = fields.integers("file_id").unwrap_or_default();
    let has_other_scope = !workspaces.is_empty() || !query.tag_id.is_empty();
    if !query.file_id.is_empty() && has_other_scope {
        fields.reject(
            "file_id",
            "invalid",
            "file_id cannot be combined with workspace_id or tag_id.",
        );
    }
    query.workspaces =
        (!workspaces.is_empty()).then(|| workspaces.into_iter().map(WorkspaceId).collect());
    query.content_type = fields.texts("content_type").unwrap_or_default();
    query.attribute = fields.texts("attribute").unwrap_or_default();
    query.mode = fields
        .choice("mode", SearchMode::from_word)
        .unwrap_or(query.mode);
    query.include_image = fields.flag("include_image").unwrap_or_default();
    query.include_bboxes = fields.flag("include_bboxes").unwrap_or_default();
    let old_way = match fields.flag("skip_rerank") {
        Some(true) => RelevanceScoring::None,
        Some(false) | None => RelevanceScoring::ScoringAndFiltering,
    };
    query.relevance_scoring = fields
        .choice("relevance_scoring", RelevanceScoring::from_word)
        .unwrap_or(old_way);
    query
}

/// One passage in LightOn's shape.
fn result(passage: &Passage, query: &SearchQuery, contract: Contract) -> Value {
    let source = &passage.source;
    let vision = query.mode == SearchMode::Vision;
    let mut result = json!({
        "chunk_id": passage.chunk_id,
        "content": (!vision).then_some(&passage.content),
        "score": passage.score,
        "scores": scores(passage, query),
        "source": {
            "file_id": source.file_id,
            "filename": source.filename,
            "title": source.title,
            "mime_type": source.mime_type,
            "size_bytes": source.size_bytes,
            "page_start": source.page_start,
            "page_end": source.page_end,
            "total_pages": source.total_pages.unwrap_or(1),
            "tags": source.tags.iter().map(|tag| json!({"id": tag.id, "name": tag.name})).collect::<Vec<_>>(),
            "content_types": [],
            "external_metadata": source.external_metadata,
        },
        "workspace": passage.workspace.as_ref().map(|workspace| json!({"id": workspace.id, "name": workspace.name})),
    });
    let Some(members) = result.as_object_mut() else {
        return result;
    };
    if contract == Contract::ObjectScore {
        let retrieval = passage.scores.keyword.unwrap_or(passage.score);
        members.insert(
            "score".to_owned(),
            json!({"retrieval": retrieval, "reranking": passage.scores.relevance}),
        );
        members.shift_remove("scores");
    }
    if query.include_image {
        members.insert(
            "image".to_owned(),
            json!({"b64_content": image::page(&passage.content)}),
        );
    }
    if query.include_bboxes {
        members.insert("bboxes".to_owned(), boxes(passage, query.mode));
    }
    result
}

/// The signals behind the score. What was found in vision mode was found by its text, and is told as if by its image.
fn scores(passage: &Passage, query: &SearchQuery) -> Value {
    let scores = passage.scores;
    match query.mode {
        SearchMode::Text => json!({
            "text": scores.text,
            "vision": scores.vision,
            "keyword": scores.keyword,
            "multivector": scores.multivector,
            "relevance": scores.relevance,
        }),
        SearchMode::Vision => json!({
            "text": null,
            "vision": scores.vision.or(scores.relevance),
            "keyword": null,
            "multivector": null,
            "relevance": scores.relevance,
        }),
    }
}

/// The boxes of a passage: the whole page for each page of a PDF, since the readers tell no place on it; else none, as with LightOn.
fn boxes(passage: &Passage, mode: SearchMode) -> Value {
    let source = &passage.source;
    let (Some("pdf"), SearchMode::Text, Some(first)) =
        (source.mime_type.as_deref(), mode, source.page_start)
    else {
        return json!([]);
    };
    let (width, height) = PAGE_POINTS;
    let pages = first..=source.page_end.unwrap_or(first);
    pages
        .map(|number| {
            json!({
                "page_number": number, "x": 0.0, "y": 0.0, "width": width, "height": height, "unit": "pdf_point", "origin": "top_left",
            })
        })
        .collect()
}
