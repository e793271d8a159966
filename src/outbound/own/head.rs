//! The heads of HTTP/1.1: the request's written, the answer's read (RFC 9112, 2 to 6).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};

use super::{
    Fault,
    framing::{Framing, split},
};

/// The largest head of an answer, in bytes.
pub(super) const LARGEST: usize = 64 << 10;

/// How many fields a head may have.
const MOST_FIELDS: usize = 100;

/// What a head takes at most times, in bytes.
const USUAL: usize = 1 << 10;

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// Whether the neighbour takes another request on the connection.
    pub(super) keeps_open: bool,
}

/// The head of `request` to `host`, whose body is sent as it is.
pub(super) fn write(request: &Request<Bytes>, host: &HeaderValue) -> Bytes {
    let mut head = Vec::with_capacity(USUAL);
    let path = request.uri().path_and_query();
    head.extend_from_slice(request.method().as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(path.map_or("/", |path| path.as_str()).as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    field(&mut head, &header::HOST, host.as_bytes());
    for (name, value) in request.headers() {
        // What frames the request and whom it goes to is said here alone.
        if !matches!(
            *name,
            header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::CONNECTION
        ) {
            field(&mut head, name, value.as_bytes());
        }
    }
    let body = request.body();
    if !body.is_empty() || !request.method().is_safe() {
        let mut digits = itoa::Buffer::new();
        let length = digits.format(body.len()).as_bytes();
        field(&mut head, &header::CONTENT_LENGTH, length);
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

fn field(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// Takes the head of an answer off the front of `said`, and the provisional ones before it. `None`: it is not all there.
pub(super) fn read(said: &mut Bytes) -> Result<Option<Head>, Fault> {
    loop {
        let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut response, said, &mut fields)
            .map_err(Fault::Head)?;
        let length = match parsed {
            httparse::Status::Complete(length) if length <= LARGEST => length,
            httparse::Status::Partial if said.len() < LARGEST => return Ok(None),
            httparse::Status::Complete(_) | httparse::Status::Partial => {
                return Err(Fault::HeadTooLarge);
            }
        };
        let status = response
            .code
            .and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(Fault::Head(httparse::Error::Status))?;
        if !status.is_informational() {
            let head = understood(status, &response, &said.slice(..length))?;
            let _ = split(said, length);
            return Ok(Some(head));
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Fault::Unasked);
        }
        // A provisional answer (RFC 9110, 15.2): the one that counts follows.
        let _ = split(said, length);
    }
}

/// What the fields of `response` say, which was read in `text`.
fn understood(
    status: StatusCode,
    response: &httparse::Response<'_, '_>,
    text: &Bytes,
) -> Result<Head, Fault> {
    // A copy, because what was read into is used again while the answer's fields are kept.
    let own = Bytes::copy_from_slice(text);
    let start = text.as_ptr().addr();
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for field in &*response.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| Fault::Head(httparse::Error::HeaderName))?;
        let value = match field.value {
            // It may be any empty slice.
            [] => Bytes::new(),
            value => {
                let from = value.as_ptr().addr() - start;
                own.slice(from..from + value.len())
            }
        };
        let value = HeaderValue::from_maybe_shared(value);
        let value = value.map_err(|_| Fault::Head(httparse::Error::HeaderValue))?;
        headers.append(name, value);
    }
    let is_http11 = response.version == Some(1);
    let (framing, is_certain) = framing(status, &mut headers, is_http11)?;
    let connection = tokens(&headers, &header::CONNECTION);
    let says = |option: &str| {
        let mut said = connection.iter().flatten();
        said.any(|said| said == option)
    };
    Ok(Head {
        keeps_open: is_certain
            && connection.is_some()
            && !says("close")
            && (is_http11 || says("keep-alive")),
        status,
        framing,
        headers,
    })
}

/// How the body is framed (RFC 9112, 6.3), and whether it is beyond doubt where it ends.
fn framing(
    status: StatusCode,
    headers: &mut HeaderMap,
    is_http11: bool,
) -> Result<(Framing, bool), Fault> {
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok((Framing::Length(0), true));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        if !is_http11 {
            return Err(Fault::Encoding);
        }
        // It overrides a length, which somebody on the way may have gone by.
        let is_alone = headers.remove(header::CONTENT_LENGTH).is_none();
        // The last one decides; with others before it, not everybody may see it as the last.
        let encodings = tokens(headers, &header::TRANSFER_ENCODING).unwrap_or_default();
        let is_chunked = encodings.last().is_some_and(|last| last == "chunked");
        return Ok(match is_chunked {
            true => (Framing::chunked(), is_alone && encodings.len() == 1),
            false => (Framing::UntilClose, false),
        });
    }
    let mut length = None;
    for said in headers.get_all(header::CONTENT_LENGTH) {
        let said = said.to_str().map_err(|_| Fault::Length)?;
        for said in said.split(',') {
            let said = said.trim_matches([' ', '\t']);
            // `parse` takes a sign.
            let digits = said.bytes().all(|byte| byte.is_ascii_digit());
            let said: u64 = said.parse().map_err(|_| Fault::Length)?;
            if !digits || length.is_some_and(|length| length != said) {
                return Err(Fault::Length);
            }
            length = Some(said);
        }
    }
    Ok(match length {
        Some(length) => (Framing::Length(length), true),
        None => (Framing::UntilClose, false),
    })
}

/// What a field lists, in lower case; `None` where something of it cannot be read.
fn tokens(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    for value in headers.get_all(name) {
        let listed = value.to_str().ok()?.split(',');
        tokens.extend(listed.map(|token| token.trim_matches([' ', '\t']).to_ascii_lowercase()));
    }
    Some(tokens)
}
