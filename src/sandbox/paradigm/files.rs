//! `/files`: the library's files in Paradigm's shape. Files that name no workspace go to workspace 1: the sandbox has no private
//! collection.

use axum::{
    extract::{Path, Request, State},
    http::StatusCode,
};
use serde_json::{Map, Value, json};

use crate::sandbox::{
    json::Json,
    library::{File, Stored, Upload},
    lighton::{
        body,
        error::Error as LightOnError,
        files::{check_file, number},
        params::Params,
    },
};

use super::{Error, PREFIX, Service};

/// How many files a page has, always.
const PAGE_SIZE: usize = 20;

/// Stores and indexes a file.
pub(super) async fn create(
    State(service): State<Service>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Error> {
    let (mut fields, file) = body::read_with_file(request, &service.library).await?;
    if file.is_none() {
        fields.reject("file", "required", "No file was submitted.");
    }
    let named = fields.text("filename", 255);
    let title = fields.text("title", 255);
    let workspace_id = fields.integer("workspace_id", 1..=i64::MAX).unwrap_or(1);
    let filename = named
        .or_else(|| file.as_ref().map(|file| file.filename.clone()))
        .unwrap_or_default();
    if let Some(file) = &file {
        check_file(&mut fields, &filename, file.content.size_bytes());
    }
    fields.finish()?;
    let Some(file) = file else {
        return Err(LightOnError::field("file", "required", "No file was submitted.").into());
    };
    if service.library.workspace(workspace_id).is_none() {
        return Err(LightOnError::Forbidden(
            "You do not have permission to upload to this workspace.",
        )
        .into());
    }
    let upload = Upload {
        workspace_id,
        filename,
        title,
        tags: Vec::new(),
        origin: None,
        content: file.content,
    };
    let stored = service
        .library
        .run(move |library| library.add(upload))
        .await?;
    let (Stored::New(file) | Stored::There(file)) = stored;
    let mut shape = shape(&file);
    shape.insert("bytes".to_owned(), json!(file.size_bytes));
    Ok((StatusCode::CREATED, Json(Value::Object(shape))))
}

/// Lists files, newest first, 20 a page. Items have no `bytes`.
pub(super) async fn list(
    State(service): State<Service>,
    params: Params,
) -> Result<Json<Value>, Error> {
    let workspaces = params.integers("workspace_scope")?;
    let mut files = service.library.look_at_all();
    files.retain(|file| workspaces.is_empty() || workspaces.contains(&file.workspace_id));
    files.sort_by_key(|file| std::cmp::Reverse((file.created_at, file.id)));
    let last = files.len().div_ceil(PAGE_SIZE).max(1);
    let page = match params.one("page") {
        None => 1,
        Some(page) => page
            .parse()
            .ok()
            .filter(|page| (1..=last).contains(page))
            .ok_or(LightOnError::NotFound("Page"))?,
    };
    let data: Vec<Value> = files
        .iter()
        .skip((page - 1) * PAGE_SIZE)
        .take(PAGE_SIZE)
        .map(|file| Value::Object(shape(file)))
        .collect();
    Ok(Json(json!({
        "next": (page < last).then(|| params.address_of_page(PREFIX, page + 1)),
        "previous": (page > 1).then(|| params.address_of_page(PREFIX, page - 1)),
        "count": files.len(),
        "object": "list",
        "data": data,
    })))
}

/// Shows a file, with `include_content=true` its text; moves its status on.
pub(super) async fn retrieve(
    State(service): State<Service>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, Error> {
    let file = service
        .library
        .look(number(&id, "File")?)
        .ok_or(LightOnError::NotFound("File"))?;
    let mut shape = shape(&file);
    shape.insert("bytes".to_owned(), json!(file.size_bytes));
    // Paradigm's hash for near duplicates (TLSH) is not worked out here.
    shape.insert("signature".to_owned(), Value::Null);
    if params.flag("include_content")?.unwrap_or_default() {
        let pages = service
            .library
            .run(move |library| library.pages(&file))
            .await?;
        let texts: Vec<&str> = pages.iter().map(|page| page.text.as_str()).collect();
        shape.insert("content".to_owned(), json!(texts.join("\n\n")));
    }
    Ok(Json(Value::Object(shape)))
}

/// Deletes a file.
pub(super) async fn delete(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    let id = number(&id, "File")?;
    match service
        .library
        .run(move |library| library.delete(&[id]))
        .await?
    {
        // Without `object`, as LightOn's own documentation shows it.
        true => Ok(Json(json!({"id": id, "deleted": true}))),
        false => Err(LightOnError::NotFound("File").into()),
    }
}

fn shape(file: &File) -> Map<String, Value> {
    let shape = json!({
        "id": file.id,
        "object": "file",
        "created_at": file.created_at.as_second(),
        "filename": file.filename,
        "purpose": "documents",
        "status": file.life.status(),
    });
    match shape {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
