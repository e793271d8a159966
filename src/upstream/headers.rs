//! What crosses the gateway in either direction: two short closed lists.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::{self, ApiKey};

/// Who asks.
const USER_AGENT: &str = concat!("groundwire/", env!("CARGO_PKG_VERSION"));

/// Request headers of a client that an upstream sees: trace context (W3C) and OpenAI's feature switch.
const TO_UPSTREAM: [&str; 3] = ["traceparent", "tracestate", "openai-beta"];

/// Response headers of an upstream that a client sees, beside `x-ratelimit-*` and `openai-*`. `x-warning` is how OVHcloud tells that a
/// deprecated model was redirected (its troubleshooting guide).
const TO_CLIENT: [&str; 3] = ["retry-after", "retry-after-ms", "x-warning"];

/// What goes along with each request to the upstream of `settings`: the gateway's own, and over them what the operator wrote.
pub fn of(settings: &config::Upstream) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    // A compressed stream would wait for blocks to fill.
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    for (name, value) in &settings.headers {
        headers.insert(name, value.clone());
    }
    if let ApiKey::Fixed(key) = &settings.api_key
        && let Ok(mut bearer) = HeaderValue::try_from(format!("Bearer {}", key.expose()))
    {
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
    }
    headers
}

/// The headers of `client` that go on to an upstream.
pub fn to_upstream(client: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    for name in TO_UPSTREAM {
        // `tracestate` may come in several lines, which are one list.
        for value in client.get_all(name) {
            out.append(HeaderName::from_static(name), value.clone());
        }
    }
    out
}

/// The headers of `upstream` that go on to a client.
pub fn to_client(upstream: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in upstream {
        let text = name.as_str();
        if TO_CLIENT.contains(&text)
            || text.starts_with("x-ratelimit-")
            || text.starts_with("openai-")
        {
            out.append(name.clone(), value.clone());
        }
    }
    if let Some(id) = upstream.get("x-request-id") {
        out.insert(HeaderName::from_static("x-upstream-request-id"), id.clone());
    }
    out
}

/// Whether a content type is an event stream.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    value
        .get(..17)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_headers_cross() {
        let mut upstream = HeaderMap::new();
        for name in [
            "retry-after",
            "x-ratelimit-limit-requests",
            "openai-version",
            "set-cookie",
            "server",
            "x-request-id",
            "content-encoding",
        ] {
            upstream.insert(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        let crossed = to_client(&upstream);
        let mut names: Vec<&str> = crossed.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "openai-version",
                "retry-after",
                "x-ratelimit-limit-requests",
                "x-upstream-request-id"
            ]
        );
    }

    #[test]
    fn a_list_in_several_lines_crosses_whole() {
        let mut client = HeaderMap::new();
        for state in ["a=1", "b=2"] {
            client.append("tracestate", HeaderValue::from_static(state));
        }
        let crossed = to_upstream(&client);
        let crossed: Vec<_> = crossed.get_all("tracestate").iter().collect();
        assert_eq!(crossed, ["a=1", "b=2"]);
    }

    #[test]
    fn a_clients_cookies_and_keys_stay_here() {
        let mut client = HeaderMap::new();
        for name in [
            "authorization",
            "cookie",
            "traceparent",
            "x-forwarded-for",
            "api-key",
        ] {
            client.insert(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        assert_eq!(
            to_upstream(&client)
                .keys()
                .map(HeaderName::as_str)
                .collect::<Vec<_>>(),
            ["traceparent"]
        );
    }
}
