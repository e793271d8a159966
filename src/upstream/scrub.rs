//! A provider may quote in its error what we sent it, our key included, or where it was reached, which is nobody's business outside. What it
//! says goes on to a client and into the log without that.
//!
//! Only errors are looked at: an answer is the model's, which never saw a key, and its bytes are not ours to change.

use std::{borrow::Cow, sync::LazyLock};

use bytes::Bytes;
use memchr::memmem;
use url::{Host, Url};

use super::client::Call;
use crate::{
    config::ApiKey,
    openai::{ErrorBody, chunk::Chunk},
    sse::{Decoder, Event, Payload},
};

/// What stands in a secret's place.
const MARK: &str = "(secret)";

/// What stands in the place of an upstream's address.
const ADDRESS: &str = "(address)";

/// Shorter keys are placeholders such as `EMPTY` or `ollama`, which are words as well.
const SHORTEST_KEY: usize = 8;

/// Shorter values of configured headers are names and versions, which an error may need to quote.
const SHORTEST_HEADER: usize = 16;

/// What every error says; made once, because making it takes longer than looking an event over.
static ERROR: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("error"));

/// What was sent to an upstream and nobody else may read, each with what stands in its place.
pub(super) struct Secrets(Vec<(String, &'static str)>);

impl Secrets {
    /// The secrets that go along with `call`.
    pub(super) fn of(call: &Call) -> Self {
        let settings = &call.upstream.settings;
        let key = match &settings.api_key {
            ApiKey::Fixed(key) => Some(key.expose()),
            ApiKey::Client => call
                .authorization
                .as_ref()
                .and_then(|authorization| authorization.to_str().ok()?.split_whitespace().last()),
            ApiKey::None => None,
        };
        let headers = settings
            .headers
            .iter()
            .filter_map(|(_, value)| value.to_str().ok())
            .filter(|value| value.len() >= SHORTEST_HEADER);
        let key = key.filter(|key| key.len() >= SHORTEST_KEY);
        let mut secrets: Vec<(String, &str)> = key
            .into_iter()
            .chain(headers)
            .map(|secret| (secret.to_owned(), MARK))
            .chain(
                addresses(&settings.base_url)
                    .into_iter()
                    .map(|address| (address, ADDRESS)),
            )
            .collect();
        // A secret that holds another goes first, or half of it would stay.
        secrets.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
        Self(secrets)
    }

    /// `body` without them.
    pub(super) fn out_of(&self, mut body: ErrorBody) -> ErrorBody {
        let parts = [Some(&mut body.message), Some(&mut body.kind)];
        let others = [body.param.as_mut(), body.code.as_mut()];
        for part in parts.into_iter().chain(others).flatten() {
            if let Cow::Owned(clean) = self.out_of_text(part) {
                *part = clean;
            }
        }
        body
    }

    /// `event` without them where it is an error's; one that is not goes on as it came.
    pub(super) fn out_of_event(&self, event: Event) -> Event {
        let is_error = match event.payload() {
            // Most events are no errors, so that they are looked over once, however many secrets there are.
            Payload::Data(data) => {
                ERROR.find(data).is_some()
                    && self.stand_in(data)
                    && Chunk::parse(data).is_ok_and(|chunk| chunk.is_error())
            }
            Payload::Stray(data) => self.stand_in(data),
            Payload::Done | Payload::Comment | Payload::Empty => false,
        };
        if is_error {
            self.rewritten(&event).unwrap_or(event)
        } else {
            event
        }
    }

    fn rewritten(&self, event: &Event) -> Option<Event> {
        let raw = String::from_utf8_lossy(event.raw());
        let mut decoder = Decoder::new(usize::MAX);
        decoder.push(Bytes::from(self.out_of_text(&raw).into_owned()));
        decoder.next().or_else(|| decoder.finish())?.ok()
    }

    fn stand_in(&self, bytes: &[u8]) -> bool {
        self.0
            .iter()
            .any(|(secret, _)| memmem::find(bytes, secret.as_bytes()).is_some())
    }

    fn out_of_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !self.stand_in(text.as_bytes()) {
            return Cow::Borrowed(text);
        }
        let clean = self.0.iter().fold(text.to_owned(), |text, (secret, mark)| {
            text.replace(secret.as_str(), mark)
        });
        Cow::Owned(clean)
    }
}

/// How an upstream's address may be written: whole, without its path, as host and port, and the host where it is no mere word.
fn addresses(base: &Url) -> Vec<String> {
    let Some(host) = base.host_str() else {
        return Vec::new();
    };
    let mut written = vec![
        base.as_str().trim_end_matches('/').to_owned(),
        format!("{}://{host}", base.scheme()),
    ];
    if let Some(port) = base.port_or_known_default() {
        written.push(format!("{}://{host}:{port}", base.scheme()));
        written.push(format!("{host}:{port}"));
    }
    let is_name = matches!(base.host(), Some(Host::Domain(name)) if !name.contains('.'));
    if !is_name {
        written.push(host.to_owned());
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &'static str) -> Event {
        let mut decoder = Decoder::new(usize::MAX);
        decoder.push(Bytes::from_static(text.as_bytes()));
        decoder.next().unwrap().unwrap()
    }

    fn secrets() -> Secrets {
        Secrets(vec![
            ("sk-1234-longer".to_owned(), MARK),
            ("sk-1234".to_owned(), MARK),
        ])
    }

    #[test]
    fn every_part_of_an_error_loses_the_secret() {
        let text = "no sk-1234-longer and sk-1234";
        let body = secrets().out_of(ErrorBody {
            message: text.to_owned(),
            kind: text.to_owned(),
            param: Some(text.to_owned()),
            code: Some(text.to_owned()),
        });
        let clean = "no (secret) and (secret)";
        assert_eq!((body.message.as_str(), body.kind.as_str()), (clean, clean));
        assert_eq!(
            (body.param.as_deref(), body.code.as_deref()),
            (Some(clean), Some(clean))
        );
    }

    #[test]
    fn an_error_event_loses_the_secret_and_text_keeps_every_byte() {
        let failed = event("data: {\"error\":{\"message\":\"bad key sk-1234\"}}\n\n");
        let clean = secrets().out_of_event(failed);
        assert_eq!(
            clean.raw(),
            "data: {\"error\":{\"message\":\"bad key (secret)\"}}\n\n"
        );

        for said in [
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"sk-1234\"}}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"an error: sk-1234\"}}]}\n\n",
        ] {
            let said = event(said);
            assert_eq!(secrets().out_of_event(said.clone()).raw(), said.raw());
        }
    }

    #[test]
    fn an_address_is_hidden_however_it_is_written_and_a_word_is_not() {
        let hidden = |base: &str, text: &str| {
            let mut written = addresses(&Url::parse(base).unwrap());
            written.sort_by_key(|address| std::cmp::Reverse(address.len()));
            let secrets = Secrets(written.into_iter().map(|text| (text, ADDRESS)).collect());
            secrets.out_of_text(text).into_owned()
        };
        for (base, text, expected) in [
            (
                "http://10.0.0.7:8000/v1/",
                "POST http://10.0.0.7:8000/v1/chat/completions: 10.0.0.7:8000 refused, 10.0.0.7 is down",
                "POST (address)/chat/completions: (address) refused, (address) is down",
            ),
            (
                "http://gpu/v1",
                "the gpu at http://gpu/v1 (gpu:80) is out of memory, see http://gpu/health",
                "the gpu at (address) ((address)) is out of memory, see (address)/health",
            ),
            (
                "https://models.corp.example/v1",
                "models.corp.example:443 and https://models.corp.example",
                "(address) and (address)",
            ),
            ("http://[::1]:9/v1", "dial [::1]:9", "dial (address)"),
        ] {
            assert_eq!(hidden(base, text), expected, "{base}");
        }
    }
}
