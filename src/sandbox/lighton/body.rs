//! Bodies of requests, whichever of the three ways their fields were written in: JSON, a form, or a form with a file.

use axum::{
    body::Bytes,
    extract::{
        FromRequest, Multipart, Request,
        multipart::{Field, MultipartError},
    },
    http::{HeaderMap, StatusCode, header},
};
use serde_json::{Map, Value};

use crate::sandbox::library::{self, Incoming, Library};

use super::{
    UPLOAD_LIMIT_BYTES,
    error::{Error, type_word},
    fields::Fields,
};

/// What a body without a file may have: far more than the longest query.
const BODY_LIMIT_BYTES: usize = 1024 * 1024;

/// Which kinds of body an endpoint takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Bodies {
    /// JSON and both kinds of form.
    Any,
    /// Forms only: the files API answers JSON with 415.
    Forms,
}

/// A file that came with a form.
#[derive(Debug)]
pub(in crate::sandbox) struct FormFile {
    /// The name that the client gave it.
    pub(in crate::sandbox) filename: String,
    /// Its bytes.
    pub(in crate::sandbox) content: Incoming,
}

/// Reads the body of `request`, without a place for files.
pub(in crate::sandbox) async fn read(request: Request, bodies: Bodies) -> Result<Fields, Error> {
    match media_type(request.headers()).as_str() {
        "application/json" if bodies == Bodies::Any => from_json(&collect(request).await?),
        "application/x-www-form-urlencoded" => Ok(from_pairs(url::form_urlencoded::parse(
            &collect(request).await?,
        ))),
        "multipart/form-data" => Ok(multipart(request, None).await?.0),
        "" if collect(request).await?.is_empty() => Ok(Fields::default()),
        other => Err(Error::UnsupportedMedia(other.to_owned())),
    }
}

/// Reads a form whose part `file` goes to the shelf of `library` as it arrives.
pub(in crate::sandbox) async fn read_with_file(
    request: Request,
    library: &Library,
) -> Result<(Fields, Option<FormFile>), Error> {
    match media_type(request.headers()).as_str() {
        "multipart/form-data" => multipart(request, Some(library)).await,
        _ => Ok((read(request, Bodies::Forms).await?, None)),
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

async fn collect(request: Request) -> Result<Bytes, Error> {
    axum::body::to_bytes(request.into_body(), BODY_LIMIT_BYTES)
        .await
        .map_err(|_| Error::TooLarge(BODY_LIMIT_BYTES))
}

fn from_json(bytes: &[u8]) -> Result<Fields, Error> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::BadRequest(format!("JSON parse error - {error}")))?;
    match value {
        Value::Object(values) => Ok(Fields::new(values)),
        other => Err(Error::field(
            "non_field_errors",
            "invalid",
            format!(
                "Invalid data. Expected a dictionary, but got {}.",
                type_word(&other)
            ),
        )),
    }
}

fn from_pairs(pairs: impl Iterator<Item = (impl Into<String>, impl Into<String>)>) -> Fields {
    let mut values = Map::new();
    for (name, value) in pairs {
        add(&mut values, name.into(), value.into());
    }
    Fields::new(values)
}

/// Adds a value of a form: a field that comes again becomes a list.
fn add(values: &mut Map<String, Value>, name: String, value: String) {
    let value = Value::String(value);
    match values.get_mut(&name) {
        None => {
            values.insert(name, value);
        }
        Some(Value::Array(items)) => items.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
    }
}

async fn multipart(
    request: Request,
    library: Option<&Library>,
) -> Result<(Fields, Option<FormFile>), Error> {
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|error| {
            Error::BadRequest(format!(
                "Multipart form parse error - {}",
                error.body_text()
            ))
        })?;
    let mut values = Map::new();
    let mut file = None;
    let mut text_bytes = 0;
    while let Some(mut part) = parts.next_field().await.map_err(broken_form)? {
        let name = part.name().unwrap_or_default().to_owned();
        if let (Some(library), Some(filename), "file") = (library, part.file_name(), name.as_str())
        {
            // Some programs send the whole path. It is never used as one, but it is no name either.
            let filename = filename
                .rsplit(['/', '\\'])
                .next()
                .unwrap_or_default()
                .to_owned();
            let content = receive(part, library).await?;
            file = Some(FormFile { filename, content });
            continue;
        }
        let mut text = Vec::new();
        while let Some(piece) = part.chunk().await.map_err(broken_form)? {
            text_bytes += piece.len();
            if text_bytes > BODY_LIMIT_BYTES {
                return Err(Error::TooLarge(BODY_LIMIT_BYTES));
            }
            text.extend_from_slice(&piece);
        }
        add(
            &mut values,
            name,
            String::from_utf8_lossy(&text).into_owned(),
        );
    }
    Ok((Fields::new(values), file))
}

async fn receive(mut part: Field<'_>, library: &Library) -> Result<Incoming, Error> {
    let mut content = library.receive().await?;
    while let Some(piece) = part.chunk().await.map_err(broken_form)? {
        content.write(&piece).await.map_err(library::Error::from)?;
    }
    content.finish().await.map_err(library::Error::from)?;
    Ok(content)
}

fn broken_form(error: MultipartError) -> Error {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Error::TooLarge(UPLOAD_LIMIT_BYTES);
    }
    Error::BadRequest(format!(
        "Multipart form parse error - {}",
        error.body_text()
    ))
}
