//! The traces of a life: what a collector was sent of each request must be in the scope of that request, too.

use std::collections::HashMap;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message;

use crate::{
    oracle::{Permit, Verdict},
    world::Marker,
};

/// Checks all that a collector was sent; tells how many spans that were.
pub(crate) fn check(
    exports: &[Vec<u8>],
    verdicts: &HashMap<u64, Verdict>,
) -> Result<usize, String> {
    let exports = exports
        .iter()
        .map(|body| ExportTraceServiceRequest::decode(&body[..]));
    let exports: Result<Vec<_>, _> = exports.collect();
    let exports = exports.map_err(|error| format!("an export is none: {error}"))?;
    let resources = exports.into_iter().flat_map(|export| export.resource_spans);
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    let spans: Vec<Span> = scopes.flat_map(|scope| scope.spans).collect();
    let cases: HashMap<&[u8], u64> = spans
        .iter()
        .filter_map(|span| Some((&span.trace_id[..], case_of(span)?)))
        .collect();
    for span in &spans {
        let verdict = cases
            .get(&span.trace_id[..])
            .and_then(|case| verdicts.get(case));
        let permit: Option<&Permit> = match verdict {
            Some(Verdict::May(permit)) => Some(permit),
            Some(Verdict::Refused) | None => None,
        };
        // Not the ids, which are random bytes.
        let told = format!(
            "{:?}",
            (&span.name, &span.attributes, &span.events, &span.status)
        );
        let mut markers = Marker::all_in(told.as_bytes());
        if let Some(marker) =
            markers.find(|marker| permit.is_none_or(|permit| !permit.holds(*marker)))
        {
            return Err(format!(
                "a trace tells {marker} of {marker:?}, beyond {verdict:?}: {span:#?}"
            ));
        }
    }
    Ok(spans.len())
}

/// The case of a request's own span, by the id that it was given.
fn case_of(span: &Span) -> Option<u64> {
    let mut attributes = span.attributes.iter();
    let id = attributes.find(|attribute| attribute.key == "groundwire.request.id")?;
    match id.value.as_ref()?.value.as_ref()? {
        Value::StringValue(id) => id.strip_prefix("case-")?.parse().ok(),
        _ => None,
    }
}
