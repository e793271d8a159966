//! `/files`: documents, one workspace each. Uploading is ingestion; see `Life` in the library for the status of a file.

pub(super) mod list;
mod shape;
pub(super) mod upload;

pub(in crate::sandbox) use upload::check_file;

use axum::{
    body::Body as HttpBody,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use crate::sandbox::{
    json::Json,
    library::{Body, Edit, File},
};

use super::{
    Service,
    body::{self, Bodies},
    error::Error,
    params::Params,
};

/// The number that a path names; what is no number names nothing.
pub(in crate::sandbox) fn number(text: &str, what: &'static str) -> Result<i64, Error> {
    text.parse().map_err(|_| Error::NotFound(what))
}

/// Shows a file, with `include_content=true` its text by page; moves its status on.
pub(super) async fn retrieve(
    State(service): State<Service>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, Error> {
    let file = service
        .library
        .look(number(&id, "File")?)
        .ok_or(Error::NotFound("File"))?;
    let mut details = shape::details(&service.library, &file);
    if params.flag("include_content")?.unwrap_or_default() {
        let pages = service
            .library
            .run(move |library| library.pages(&file))
            .await?;
        shape::add_content(&mut details, &pages);
    }
    Ok(Json(details))
}

/// Deletes a file.
pub(super) async fn delete(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let id = number(&id, "File")?;
    delete_all(&service, vec![id]).await
}

/// Deletes several files: all of them or, when one is unknown, none.
pub(super) async fn delete_many(
    State(service): State<Service>,
    request: Request,
) -> Result<StatusCode, Error> {
    let mut fields = body::read(request, Bodies::Any).await?;
    fields.demand("ids");
    let ids = fields.integers("ids").unwrap_or_default();
    if ids.is_empty() {
        fields.reject("ids", "empty", "This list may not be empty.");
    }
    fields.finish()?;
    delete_all(&service, ids).await
}

async fn delete_all(service: &Service, ids: Vec<i64>) -> Result<StatusCode, Error> {
    match service
        .library
        .run(move |library| library.delete(&ids))
        .await?
    {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Error::NotFound("File")),
    }
}

/// Gives a file more tags.
pub(super) async fn add_tags(
    State(service): State<Service>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, Error> {
    let file = known(&service, &id)?;
    let mut fields = body::read(request, Bodies::Any).await?;
    fields.demand("tags");
    let added = fields.integers("tags").unwrap_or_default();
    if added.is_empty() {
        fields.reject("tags", "empty", "This list may not be empty.");
    }
    for unknown in service.library.unknown_tags(&added) {
        fields.reject(
            "tags",
            "does_not_exist",
            format!("Tag {unknown} does not exist."),
        );
    }
    fields.finish()?;
    let mut tags = file.tags;
    for tag in added {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    let edited = edit_tags(&service, file.id, tags).await?;
    Ok(Json(shape::details(&service.library, &edited)))
}

/// Takes a tag from a file; one that it does not carry is no failure.
pub(super) async fn remove_tag(
    State(service): State<Service>,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode, Error> {
    let file = known(&service, &id)?;
    let tag = number(&tag, "Tag")?;
    if file.tags.contains(&tag) {
        let rest = file.tags.into_iter().filter(|own| *own != tag).collect();
        edit_tags(&service, file.id, rest).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn edit_tags(service: &Service, id: i64, tags: Vec<i64>) -> Result<File, Error> {
    let edit = Edit {
        tags: Some(tags),
        ..Edit::default()
    };
    let edited = service
        .library
        .run(move |library| library.edit(id, edit))
        .await?;
    edited.ok_or(Error::NotFound("File"))
}

fn known(service: &Service, id: &str) -> Result<File, Error> {
    service
        .library
        .file(number(id, "File")?)
        .ok_or(Error::NotFound("File"))
}

/// Sends the bytes of a file as they were uploaded. There are no renditions: every `purpose` is answered with the original, as LightOn
/// does where one is missing.
pub(super) async fn download(
    State(service): State<Service>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, Error> {
    let file = known(&service, &id)?;
    if let Some(purpose) = params.one("purpose")
        && !["original", "rendered_pdf", "transcript"].contains(&purpose)
    {
        return Err(Error::field(
            "purpose",
            "invalid_choice",
            format!("\"{purpose}\" is not a valid choice."),
        ));
    }
    let body = match &file.body {
        Body::Static(text) => HttpBody::from(*text),
        Body::Folder(path) | Body::Shelf(path) => {
            let opened = tokio::fs::File::open(path).await;
            HttpBody::from_stream(ReaderStream::new(
                opened.map_err(|_| Error::NotFound("File"))?,
            ))
        }
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            content_type(&file.extension()).to_owned(),
        ),
        (header::CONTENT_DISPOSITION, disposition(&file.filename)),
    ];
    Ok((headers, body).into_response())
}

/// `attachment` with the name of the file in the form of RFC 8187, which holds any name.
fn disposition(filename: &str) -> String {
    let name = percent_encoding::utf8_percent_encode(filename, percent_encoding::NON_ALPHANUMERIC);
    format!("attachment; filename*=UTF-8''{name}")
}

fn content_type(extension: &str) -> &'static str {
    match extension {
        "md" => "text/markdown; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "html" | "htm" => "text/html; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        _ => "application/octet-stream",
    }
}
