//! The place of a request in a trace, as the headers `traceparent` and `tracestate` tell it.

use std::{
    fmt,
    num::{NonZeroU64, NonZeroU128},
};

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The flag of a request whose caller has it recorded.
const SAMPLED: u8 = 1;

/// The flags that are known: the one above, and that the number of the trace is random.
const KNOWN_FLAGS: u8 = 3;

/// The longest `tracestate` that is kept; the standard asks for 512 characters at least.
const STATE_BYTES: usize = 1024;

/// The number of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub NonZeroU128);

/// The number of a span: a request, or one of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub NonZeroU64);

/// The place of a request in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The request itself.
    pub span: SpanId,
    /// What of its caller it belongs to.
    pub parent: Option<SpanId>,
    /// What the caller's `tracestate` says.
    pub state: Option<String>,
    /// The flags of `traceparent`.
    pub flags: u8,
}

impl TraceId {
    fn random() -> Self {
        Self(NonZeroU128::new(fastrand::u128(1..)).unwrap_or(NonZeroU128::MIN))
    }
}

impl SpanId {
    /// A new one. It need not be secret, only unlike the others of its trace.
    pub fn random() -> Self {
        Self(NonZeroU64::new(fastrand::u64(1..)).unwrap_or(NonZeroU64::MIN))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Context {
    /// The place of a request with these `headers`: in the trace of its caller, who then decides whether it is recorded, else at the head of
    /// a trace of its own, of which this `share` is.
    pub fn joining(headers: &HeaderMap, share: f64) -> Self {
        let mut all = headers.get_all(TRACEPARENT).iter();
        // Two of them are none: nobody knows which one is right.
        let only = all.next().filter(|_| all.next().is_none());
        let Some((trace, parent, flags)) = only.and_then(|value| read(value.as_bytes())) else {
            return Self {
                trace: TraceId::random(),
                span: SpanId::random(),
                parent: None,
                state: None,
                flags: if fastrand::f64() < share { SAMPLED } else { 0 },
            };
        };
        Self {
            trace,
            span: SpanId::random(),
            parent: Some(parent),
            state: state(headers),
            flags: flags & KNOWN_FLAGS,
        }
    }

    /// Whether the request is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Tells a neighbour in the `headers` of a call that it belongs to `span`.
    pub fn tell(&self, span: SpanId, headers: &mut HeaderMap) {
        let told = format!("00-{}-{span}-{:02x}", self.trace, self.flags);
        if let Ok(value) = HeaderValue::try_from(told) {
            headers.insert(TRACEPARENT, value);
        }
        // It belongs to the caller's trace, and this may be another.
        if self.parent.is_none() {
            headers.remove(TRACESTATE);
        }
    }
}

/// Trace, parent and flags of a `traceparent` (W3C Trace Context, section 3.2).
fn read(text: &[u8]) -> Option<(TraceId, SpanId, u8)> {
    let text = std::str::from_utf8(text).ok()?;
    let mut parts = text.split('-');
    let version = hex(parts.next()?, 2)?;
    let trace = NonZeroU128::new(hex(parts.next()?, 32)?)?;
    let parent = NonZeroU64::new(u64::try_from(hex(parts.next()?, 16)?).ok()?)?;
    let flags = u8::try_from(hex(parts.next()?, 2)?).ok()?;
    // Later versions may say more behind these four.
    let is_known = match version {
        0 => parts.next().is_none(),
        1..0xff => true,
        _ => false,
    };
    is_known.then_some((TraceId(trace), SpanId(parent), flags))
}

/// A number of exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != digits || !text.bytes().all(is_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

fn state(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(TRACESTATE).iter();
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    let state = lines.join(",");
    (!state.is_empty() && state.len() <= STATE_BYTES).then_some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn a_request_joins_the_trace_of_its_caller() {
        let headers = headers(&[("traceparent", PARENT), ("tracestate", "vendor=1")]);

        let context = Context::joining(&headers, 0.0);

        assert_eq!(
            context.trace.to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(context.parent.unwrap().to_string(), "00f067aa0ba902b7");
        assert_eq!(context.state.as_deref(), Some("vendor=1"));
        assert!(context.is_sampled());
    }

    #[test]
    fn the_caller_decides_whether_it_is_recorded() {
        let unsampled = PARENT.replace("-01", "-00");

        let context = Context::joining(&headers(&[("traceparent", &unsampled)]), 1.0);

        assert!(context.parent.is_some() && !context.is_sampled());
    }

    #[test]
    fn what_is_no_traceparent_begins_a_trace_of_its_own() {
        let cases = [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ];
        for case in cases {
            let headers = headers(&[("traceparent", case), ("tracestate", "vendor=1")]);
            let context = Context::joining(&headers, 1.0);
            assert_eq!((context.parent, context.state), (None, None), "{case}");
        }
        let twice = headers(&[("traceparent", PARENT), ("traceparent", PARENT)]);
        assert_eq!(Context::joining(&twice, 1.0).parent, None);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = PARENT.replacen("00", "cc", 1) + "-what-comes";

        let context = Context::joining(&headers(&[("traceparent", &later)]), 0.0);

        assert!(context.parent.is_some());
    }

    #[test]
    fn of_the_traces_that_begin_here_the_share_is_recorded() {
        let recorded = |share| {
            let requests = (0..1000).map(|_| Context::joining(&HeaderMap::new(), share));
            requests.filter(Context::is_sampled).count()
        };
        assert_eq!((recorded(0.0), recorded(1.0)), (0, 1000));
        assert!((150..350).contains(&recorded(0.25)));
    }

    #[test]
    fn a_neighbour_is_told_the_span_that_calls_it() {
        let mut told = headers(&[("traceparent", PARENT), ("tracestate", "vendor=1")]);
        let context = Context::joining(&told, 0.0);
        let span = SpanId::random();

        context.tell(span, &mut told);

        let expected = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{span}-01");
        assert_eq!(told["traceparent"], expected);
        assert_eq!(told["tracestate"], "vendor=1");
    }

    #[test]
    fn the_state_of_a_trace_that_was_not_joined_stays_here() {
        let mut told = headers(&[("traceparent", "nonsense"), ("tracestate", "vendor=1")]);
        let context = Context::joining(&told, 1.0);

        context.tell(context.span, &mut told);

        assert!(!told.contains_key("tracestate"));
        assert_eq!(told["traceparent"].len(), 55);
    }
}
