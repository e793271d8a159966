//! `/tags`: labels of documents, the same in every workspace. There is no way to get or change a single one, as with LightOn.

use std::collections::BTreeMap;

use axum::{
    extract::{Path, Request, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use crate::sandbox::{json::Json, library::Tag};

use super::{
    Service,
    body::{self, Bodies},
    error::Error,
    files::number,
    page::{Page, page},
    params::Params,
};

/// Lists tags, by name.
pub(super) async fn list(
    State(service): State<Service>,
    params: Params,
) -> Result<Json<Page>, Error> {
    let name = params.one("name").unwrap_or_default().to_lowercase();
    let auto_assign = params.flag("auto_assign")?;
    let mut tags = service.library.tags();
    tags.retain(|tag| {
        tag.name.to_lowercase().contains(&name)
            && auto_assign.is_none_or(|wanted| tag.auto_assign == wanted)
    });
    tags.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
    let counts = service.library.tag_counts();
    page(&params, tags, |tag| shape(tag, &counts))
}

/// Makes a tag.
pub(super) async fn create(
    State(service): State<Service>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Error> {
    let mut fields = body::read(request, Bodies::Any).await?;
    fields.demand("name");
    let name = fields.text("name", 255);
    let description = fields.any_text("description", 500).unwrap_or_default();
    let auto_assign = fields.flag("auto_assign").unwrap_or(true);
    fields.finish()?;
    let name = name.unwrap_or_default();
    let tag = service
        .library
        .run(move |library| library.create_tag(name, description, auto_assign))
        .await?;
    Ok((StatusCode::CREATED, Json(shape(&tag, &BTreeMap::new()))))
}

/// Deletes a tag, from its documents too.
pub(super) async fn delete(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let id = number(&id, "Tag")?;
    match service
        .library
        .run(move |library| library.delete_tag(id))
        .await?
    {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Error::NotFound("Tag")),
    }
}

fn shape(tag: &Tag, counts: &BTreeMap<i64, u64>) -> Value {
    json!({
        "id": tag.id,
        "name": tag.name,
        "description": tag.description,
        "auto_assign": tag.auto_assign,
        "created_at": tag.created_at.to_string(),
        "updated_at": tag.created_at.to_string(),
        "document_count": counts.get(&tag.id).copied().unwrap_or_default(),
    })
}
