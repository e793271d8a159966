//! `[telemetry]`: where traces and numbers are sent.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::{
    given::Given,
    problem::Fault,
    section::Section,
    upstreams::any_header,
    values::{address, duration_or_none, fraction, name, optional_text},
};

/// How often the numbers are sent, as OpenTelemetry's own exporters do.
const METRICS_INTERVAL: Duration = Duration::from_secs(60);

/// Where traces and numbers are sent, by OTLP over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// The collector's address, without `/v1/traces`.
    pub otlp_endpoint: Url,
    /// Headers added to each request; their values are secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What the collector knows this service by.
    pub service_name: String,
    /// How often the numbers are sent; unset: never.
    pub metrics_interval: Option<Duration>,
    /// Which share of the requests that begin a trace is recorded, 0 to 1; 0: no traces at all, whatever callers say.
    pub trace_ratio: f64,
}

/// Reads `[telemetry]`; unset: nothing is sent anywhere.
pub(super) fn telemetry(mut section: Section<'_>) -> Option<Telemetry> {
    let endpoint = section.read("otlp_endpoint", endpoint).flatten();
    let headers = section.section("headers").rest(any_header);
    let service_name = section.read("service_name", name);
    let metrics_interval = section.read("metrics_interval", duration_or_none);
    let trace_ratio = section.read("trace_ratio", fraction);
    section.finish();
    Some(Telemetry {
        otlp_endpoint: endpoint?,
        headers,
        service_name: service_name.unwrap_or_else(|| "groundwire".to_owned()),
        metrics_interval: Some(metrics_interval.unwrap_or(METRICS_INTERVAL))
            .filter(|interval| !interval.is_zero()),
        trace_ratio: trace_ratio.unwrap_or(1.0),
    })
}

fn endpoint(given: &Given) -> Result<Option<Url>, Fault> {
    let Some(text) = optional_text(given)? else {
        return Ok(None);
    };
    let has_credentials = |url: Url| !url.username().is_empty() || url.password().is_some();
    if Url::parse(text.trim()).is_ok_and(has_credentials) {
        return Err(Fault::new(
            "there are credentials in the address",
            "take them out; a key goes into `headers`",
        ));
    }
    let url = address(given)?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Fault::new(
            "the address names no host",
            "write one like http://collector:4318",
        ));
    }
    if ["/v1/traces", "/v1/metrics"]
        .iter()
        .any(|path| url.path().ends_with(path))
    {
        return Err(Fault::new(
            "the gateway adds the path of each signal itself",
            "end it before `/v1`",
        ));
    }
    Ok(Some(url))
}
