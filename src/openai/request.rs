//! What the requests of all endpoints have in common.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    chat::Invalid,
    json::{Json, Object},
    sound,
};

/// Reads a body as an object without a key that stands twice, and without what readers of JSON disagree on.
pub(super) fn object(body: Bytes) -> Result<Object, Invalid> {
    let object = Object::read(body.clone()).map_err(|error| Invalid::Json(error.to_string()))?;
    sound::check(&body)?;
    match object.duplicate_key() {
        Some(key) => Err(Invalid::value(
            key,
            format!("`{key}` stands twice in the request; send it once"),
        )),
        None => Ok(object),
    }
}

/// The model that a request names.
pub(super) fn model(object: &Object) -> Result<String, Invalid> {
    let model = match object.value("model") {
        Some(value) if !value.is_null() => value
            .read::<String>()
            .map_err(|_| Invalid::value("model", "`model` must be a string"))?,
        _ => return Err(Invalid::Missing("model".into())),
    };
    if model.is_empty() {
        return Err(Invalid::value(
            "model",
            "`model` is empty; `GET /v1/models` lists what can stand here",
        ));
    }
    Ok(model)
}

/// The object as text, with `model` in place of the name that the client wrote.
pub(super) fn body_for(object: &Object, written: &str, model: &str) -> Bytes {
    let json = if written == model {
        object.to_json()
    } else {
        object.with(&[("model", Json::string(model))])
    };
    json.into_bytes()
}

/// A field that is true or false; missing and `null` are false.
pub(super) fn flag(object: &Object, key: &'static str) -> Result<bool, Invalid> {
    match object.value(key) {
        Some(value) if !value.is_null() => value
            .read::<bool>()
            .map_err(|_| Invalid::value(key, format!("`{key}` must be true or false"))),
        _ => Ok(false),
    }
}

/// Checks that the limits of an answer's tokens, which budgets are made of, are numbers that can be counted with.
pub(super) fn limits(object: &Object) -> Result<(), Invalid> {
    for key in ["max_tokens", "max_completion_tokens"] {
        let Some(value) = object.value(key) else {
            continue;
        };
        let first = value.bytes().first();
        let is_number = first.is_some_and(|first| matches!(first, b'-' | b'0'..=b'9'));
        if is_number && value.read::<f64>().is_err() {
            let message = format!("`{key}` is a number beyond every range");
            return Err(Invalid::value(key, message));
        }
    }
    Ok(())
}

/// Asks for the usage chunk in `stream_options`, whose other fields stay.
pub(super) fn ask_for_usage(object: &mut Object) {
    let own = object.value("stream_options");
    let mut options = own.and_then(Object::parse).unwrap_or_else(Object::empty);
    options.set("include_usage", Json::of(&true));
    object.set("stream_options", options.to_json());
}

/// Whether `stream_options` asks for the usage chunk.
pub(super) fn include_usage(object: &Object) -> Result<bool, Invalid> {
    #[derive(Deserialize)]
    struct Options<'a> {
        #[serde(default, borrow)]
        include_usage: Option<&'a RawValue>,
    }
    let Some(options) = object
        .value("stream_options")
        .filter(|options| !options.is_null())
    else {
        return Ok(false);
    };
    let options: Options<'_> = options
        .read()
        .map_err(|_| Invalid::value("stream_options", "`stream_options` must be an object"))?;
    Ok(options
        .include_usage
        .is_some_and(|value| value.get() == "true"))
}
