//! `POST /files` and `PATCH /files/{id}`: forms only, as with LightOn.

use axum::{
    extract::{Path, Request, State},
    http::StatusCode,
};
use serde_json::{Map, Value, json};

use crate::sandbox::{
    json::Json,
    library::{Edit, Origin, Stored, Upload, extension},
    lighton::{Service, body, error::Error, fields::Fields},
};

use super::{known, shape};

/// The file types that LightOn takes. Here those with text in them are read; the others end in `parsing_failed`.
const FORMATS: [&str; 21] = [
    "csv", "doc", "docx", "htm", "html", "jpeg", "jpg", "json", "md", "odp", "odt", "pdf", "png",
    "ppt", "pptx", "txt", "xhtml", "xls", "xlsx", "yaml", "yml",
];

/// Names and titles have this many characters at most.
const LONGEST_NAME: usize = 255;

/// What LightOn says to an upload that it takes.
const QUEUED: &str = "File queued for processing";

/// Stores and indexes a file: 201; 207 when its tags are refused and it is stored without them; 200 with the file that is there when
/// its `external_id` already is in the workspace.
pub(in crate::sandbox::lighton) async fn create(
    State(service): State<Service>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Error> {
    let (mut fields, file) = body::read_with_file(request, &service.library).await?;
    if file.is_none() {
        fields.reject("file", "required", "No file was submitted.");
    }
    fields.demand("workspace_id");
    let workspace_id = fields.integer("workspace_id", 1..=i64::MAX);
    let named = fields.text("filename", LONGEST_NAME);
    let title = fields.text("title", LONGEST_NAME);
    let tags = fields.integers("tags").unwrap_or_default();
    let origin = origin(&mut fields, None);
    let filename = named
        .or_else(|| file.as_ref().map(|file| file.filename.clone()))
        .unwrap_or_default();
    if let Some(file) = &file {
        check_file(&mut fields, &filename, file.content.size_bytes());
    }
    fields.finish()?;
    let (Some(file), Some(workspace_id)) = (file, workspace_id) else {
        return Err(Error::field("file", "required", "No file was submitted."));
    };
    if service.library.workspace(workspace_id).is_none() {
        return Err(Error::Forbidden(
            "You do not have permission to upload to this workspace.",
        ));
    }
    let refused = service.library.unknown_tags(&tags);
    let upload = Upload {
        workspace_id,
        filename,
        title,
        tags: tags
            .into_iter()
            .filter(|tag| !refused.contains(tag))
            .collect(),
        origin,
        content: file.content,
    };
    let stored = service
        .library
        .run(move |library| library.add(upload))
        .await?;
    let (status, file, message) = match stored {
        Stored::There(file) => (
            StatusCode::OK,
            file,
            "A file with this external_id already exists in the workspace".to_owned(),
        ),
        Stored::New(file) if refused.is_empty() => (StatusCode::CREATED, file, QUEUED.to_owned()),
        Stored::New(file) => (
            StatusCode::MULTI_STATUS,
            file,
            format!("{QUEUED}; tags that do not exist: {refused:?}"),
        ),
    };
    Ok((
        status,
        Json(shape::created(&service.library, &file, &message)),
    ))
}

/// Changes title, tags (all of them; `[0]` clears them), origin (merged into what is there) or content of a file.
///
/// The answer to new content tells of the old one with `pending_reprocess: "update"`; the next look shows the new one.
pub(in crate::sandbox::lighton) async fn update(
    State(service): State<Service>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, Error> {
    let before = known(&service, &id)?;
    let (mut fields, file) = body::read_with_file(request, &service.library).await?;
    if fields.is_empty() && file.is_none() {
        return Err(Error::BadRequest("No fields to update.".to_owned()));
    }
    const CHANGEABLE: [&str; 4] = ["title", "tags", "external_metadata", "file"];
    if let Some(fixed) = fields.names().find(|name| !CHANGEABLE.contains(name)) {
        return Err(Error::BadRequest(format!(
            "Field `{fixed}` cannot be updated."
        )));
    }
    let title = fields.text("title", LONGEST_NAME);
    let mut tags = fields.integers("tags");
    if tags.as_deref() == Some(&[0]) {
        tags = Some(Vec::new());
    }
    for unknown in service
        .library
        .unknown_tags(tags.as_deref().unwrap_or_default())
    {
        fields.reject(
            "tags",
            "does_not_exist",
            format!("Tag {unknown} does not exist."),
        );
    }
    let origin = origin(&mut fields, before.origin.clone());
    if let Some(file) = &file {
        check_file(&mut fields, &file.filename, file.content.size_bytes());
    }
    fields.finish()?;
    let replaced = file.is_some();
    let edit = Edit {
        title,
        tags,
        origin,
        content: file.map(|file| (file.filename, file.content)),
    };
    let edited = service
        .library
        .run(move |library| library.edit(before.id, edit))
        .await?;
    let mut after = edited.ok_or(Error::NotFound("File"))?;
    if !replaced {
        return Ok(Json(shape::details(&service.library, &after)));
    }
    after.filename = before.filename;
    after.size_bytes = before.size_bytes;
    after.total_pages = before.total_pages;
    after.life = before.life;
    let mut body = shape::details(&service.library, &after);
    if let Some(members) = body.as_object_mut() {
        members.insert("pending_reprocess".to_owned(), json!("update"));
    }
    Ok(Json(body))
}

/// Notes what keeps a file with this name and size from being stored.
pub(in crate::sandbox) fn check_file(fields: &mut Fields, filename: &str, size_bytes: u64) {
    let extension = extension(filename);
    if !FORMATS.contains(&extension.as_str()) {
        fields.reject(
            "file",
            "invalid_extension",
            format!("File extension \"{extension}\" is not allowed."),
        );
    }
    if size_bytes == 0 {
        fields.reject("file", "empty", "The submitted file is empty.");
    }
}

/// The origin that the form tells, merged into the one `before`; `external_id` is needed the first time, and never null or blank.
fn origin(fields: &mut Fields, before: Option<Origin>) -> Option<Origin> {
    const NAME: &str = "external_metadata";
    let told = fields.object(NAME)?;
    let first_time = before.is_none();
    let mut origin = before.unwrap_or_default();
    match told.get("external_id") {
        Some(Value::String(id)) if !id.trim().is_empty() => origin.external_id.clone_from(id),
        Some(Value::Number(id)) => origin.external_id = id.to_string(),
        Some(Value::Null) => {
            fields.reject(NAME, "null", "external_id: This field may not be null.")
        }
        Some(Value::String(_)) => {
            fields.reject(NAME, "blank", "external_id: This field may not be blank.")
        }
        Some(_) => fields.reject(NAME, "invalid", "external_id: Not a valid string."),
        None if first_time => {
            fields.reject(NAME, "required", "external_id: This field is required.")
        }
        None => {}
    }
    match told.get("doc_type") {
        Some(Value::String(word)) => origin.doc_type.clone_from(word),
        Some(_) => fields.reject(NAME, "invalid", "doc_type: Not a valid string."),
        None => {}
    }
    match told.get("additional_metadata") {
        Some(Value::Object(more)) => merge(&mut origin.additional_metadata, more),
        Some(_) => fields.reject(
            NAME,
            "invalid",
            "additional_metadata: Value must be a JSON object.",
        ),
        None => {}
    }
    Some(origin)
}

fn merge(into: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (name, value) in more {
        into.insert(name.clone(), value.clone());
    }
}
