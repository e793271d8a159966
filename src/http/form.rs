//! A multipart form as a stream of its parts, with one file that passes through piece by piece.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{FromRequest, Multipart, Request, multipart::MultipartError},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use http::{HeaderMap, StatusCode, header};

use super::{
    error::ApiError,
    extract::uncompressed,
    patience::{Patient, Stalled},
};
use crate::config::Config;

/// The longest value of a field that is not the file, in bytes.
const FIELD_LIMIT: usize = 64 << 10;

/// How much a form may hold beside its file, in bytes, before its announced length alone refuses it.
const FIELDS_ROOM: u64 = 1 << 20;

/// The most fields of a form.
const FIELDS: usize = 100;

/// A part of a form, in the order in which it came.
#[derive(Debug)]
pub(super) enum Part {
    /// A field that is not the file.
    Field {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// The file begins.
    File {
        /// Its name.
        filename: String,
        /// Its media type.
        content_type: Option<String>,
    },
    /// A piece of the file.
    Piece(Bytes),
    /// The file was whole.
    FileEnd,
}

/// The parts of a form as they come; after an error nothing follows.
pub(super) type Parts = BoxStream<'static, Result<Part, ApiError>>;

/// Opens the form of a request, whose file must be within the limits of `config`.
pub(super) async fn open(request: Request, config: &Config) -> Result<Parts, ApiError> {
    uncompressed(request.headers())?;
    let (limit, silence) = (config.limits.file_bytes, config.timeouts.body);
    if announced(request.headers()).is_some_and(|length| length > limit.saturating_add(FIELDS_ROOM))
    {
        return Err(too_large(limit));
    }
    let request = request.map(|body| {
        Body::from_stream(Paced {
            stream: Body::new(Patient::new(body, silence)).into_data_stream(),
            gave: false,
        })
    });
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|_| {
        let message = "send the file as `multipart/form-data`, as every OpenAI SDK does";
        ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request_error",
            "unsupported_media_type",
            message,
        )
    })?;
    let broken = move |error| broken(&error, silence);
    let parts = async_stream::try_stream! {
        let mut fields = 0;
        let mut files = 0;
        while let Some(mut field) = form.next_field().await.map_err(broken)? {
            fields += 1;
            if fields > FIELDS {
                Err(ApiError::bad_request("invalid_value", "the form has too many fields"))?;
            }
            let name = field.name().unwrap_or_default().to_owned();
            if name != "file" {
                let mut value = Vec::new();
                while let Some(piece) = field.chunk().await.map_err(broken)? {
                    if value.len() + piece.len() > FIELD_LIMIT {
                        Err(ApiError::bad_request("invalid_value", "a field of the form is too long"))?;
                    }
                    value.extend_from_slice(&piece);
                }
                let value = String::from_utf8_lossy(&value).into_owned();
                yield Part::Field { name, value };
                continue;
            }
            files += 1;
            if files > 1 {
                Err(ApiError::bad_request("invalid_value", "send one `file` a request").param("file"))?;
            }
            let filename = field.file_name().unwrap_or_default().to_owned();
            let content_type = field.content_type().map(str::to_owned);
            yield Part::File { filename, content_type };
            let mut length: u64 = 0;
            while let Some(piece) = field.chunk().await.map_err(broken)? {
                length = length.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                if length > limit {
                    Err(too_large(limit))?;
                }
                yield Part::Piece(piece);
            }
            yield Part::FileEnd;
        }
    };
    Ok(parts.boxed())
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn too_large(limit: u64) -> ApiError {
    let message = format!(
        "the file is larger than {limit} bytes (`limits.file`); send a smaller one, or ask the operator to raise it"
    );
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "invalid_request_error",
        "request_too_large",
        message,
    )
    .param("file")
}

fn broken(error: &MultipartError, silence: Duration) -> ApiError {
    if Stalled::is_behind(error) {
        return ApiError::stalled(silence);
    }
    tracing::debug!(error = %error.body_text(), "a form broke off or is none");
    ApiError::bad_request(
        "invalid_value",
        "the form cannot be read to its end; send it again as `multipart/form-data`",
    )
}

/// Gives one piece of a body at a time.
///
/// The reader of forms takes whatever is ready before it looks at any of it, so that a client which is faster than the store would have its
/// whole file in memory. A pause after each piece makes it look.
struct Paced<S> {
    stream: S,
    gave: bool,
}

impl<S: Stream + Unpin> Stream for Paced<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if std::mem::take(&mut self.gave) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = self.stream.poll_next_unpin(cx);
        self.gave = matches!(polled, Poll::Ready(Some(_)));
        polled
    }
}
