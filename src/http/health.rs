//! `/healthz` and `/readyz`: whether the process lives, and whether it should be sent requests.

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::Parts;
use crate::{
    access::Reach,
    app::App,
    config::{OnSharedError, SearchBackend},
    openai::Json,
    retrieval::documents::Page,
    upstream::{Upstream, health::Condition},
};

/// Alive.
pub(super) async fn alive() -> Response {
    answer(StatusCode::OK, &json!({"status": "ok"}))
}

/// What `/readyz` can be asked.
#[derive(Debug, Deserialize)]
pub(super) struct Depth {
    deep: Option<String>,
}

/// Configured and not draining; with `?deep=1` the neighbours are asked, and one that fails makes it 503.
pub(super) async fn ready(State(parts): State<Parts>, Query(depth): Query<Depth>) -> Response {
    let app = parts.load_full();
    let draining = app.is_draining();
    let mut body = Map::new();
    let deep = depth
        .deep
        .is_some_and(|deep| deep != "0" && deep != "false");
    let healthy = if deep {
        probe(&app, &mut body).await
    } else {
        name(&app, &mut body)
    };
    let status = match (draining, healthy) {
        (true, _) => "draining",
        (false, true) => "ready",
        (false, false) => "degraded",
    };
    body.insert("status".to_owned(), json!(status));
    answer(
        if draining || !healthy {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        },
        &Value::Object(body),
    )
}

fn name(app: &App, body: &mut Map<String, Value>) -> bool {
    let state = app.probed_search().map_or("off", |_| "configured");
    body.insert(
        "search".to_owned(),
        json!({"backend": backend(app), "state": state}),
    );
    let upstreams: Map<String, Value> = app
        .catalog
        .upstreams()
        .iter()
        .map(|upstream| (upstream.name().to_owned(), told(upstream)))
        .collect();
    body.insert("upstreams".to_owned(), Value::Object(upstreams));
    true
}

/// Asks each neighbour something that costs nothing: search for its workspaces, upstreams for their models.
async fn probe(app: &App, body: &mut Map<String, Value>) -> bool {
    let search = async {
        let probed = app.probed_search()?;
        let workspaces = probed.documents.workspaces(Page { number: 1, size: 1 });
        Some(workspaces.await.is_ok())
    };
    let upstreams = join_all(app.catalog.upstreams().iter().map(|upstream| async move {
        let lists = app.catalog.ask(upstream).await.is_ok();
        // One that lists its models may fail at answering all the same.
        let state = match (lists, upstream.health.is_set_aside()) {
            (_, true) => told(upstream),
            (true, false) => json!({"state": "up"}),
            (false, false) => json!({"state": "down"}),
        };
        let good = lists && !upstream.health.is_set_aside();
        (upstream.name().to_owned(), good, state)
    }));
    let (search, upstreams) = tokio::join!(search, upstreams);
    let state = |good: bool| if good { "up" } else { "down" };
    body.insert(
        "search".to_owned(),
        json!({"backend": backend(app), "state": search.map_or("off", state)}),
    );
    let healthy = search.unwrap_or(true) && upstreams.iter().all(|(_, good, _)| *good);
    let upstreams: Map<String, Value> = upstreams
        .into_iter()
        .map(|(name, _, state)| (name, state))
        .collect();
    body.insert("upstreams".to_owned(), Value::Object(upstreams));
    let Some(shared) = app.limiter.probe().await else {
        return healthy;
    };
    body.insert(
        "shared_limits".to_owned(),
        json!({"state": state(shared == Reach::Up)}),
    );
    // Away, it stops the gateway only where the operator wants that.
    let settings = app.config.limits.shared.as_ref();
    let refuses = settings.is_some_and(|settings| settings.on_error == OnSharedError::Refuse);
    healthy && (shared == Reach::Up || !refuses)
}

/// What the requests so far say of an upstream.
fn told(upstream: &Upstream) -> Value {
    match upstream.health.condition() {
        Condition::Unknown => json!({"state": "configured"}),
        Condition::Up => json!({"state": "up"}),
        Condition::Failing(failures) => json!({"state": "failing", "failures": failures}),
        Condition::SetAside(failures, until) => {
            json!({"state": "set_aside", "failures": failures, "until": moment(until)})
        }
    }
}

/// A moment of the process' own clock by everybody's, to the second.
fn moment(at: Instant) -> String {
    let left = at.saturating_duration_since(Instant::now());
    let at = jiff::Timestamp::now().checked_add(left);
    at.map_or_else(|_| String::new(), |at| format!("{at:.0}"))
}

fn backend(app: &App) -> &'static str {
    match app.config.search.backend {
        SearchBackend::LightOn { .. } => "lighton",
        SearchBackend::Local { .. } => "local",
    }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )],
        Json::of(body).bytes().clone(),
    )
        .into_response()
}
