//! `/healthz` and `/readyz`: whether the process lives, and whether it should be sent requests.

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Parts;
use crate::{app::App, config::SearchBackend, openai::Json, retrieval::documents::Page};

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
    body.insert("search".to_owned(), json!({"backend": backend(app)}));
    let upstreams: Map<String, Value> = app
        .catalog
        .upstreams()
        .iter()
        .map(|upstream| (upstream.name().to_owned(), json!({"state": "configured"})))
        .collect();
    body.insert("upstreams".to_owned(), Value::Object(upstreams));
    true
}

/// Asks each neighbour something that costs nothing: search for its workspaces, upstreams for their models.
async fn probe(app: &App, body: &mut Map<String, Value>) -> bool {
    let search = async {
        app.probed_search()
            .documents
            .workspaces(Page { number: 1, size: 1 })
            .await
            .is_ok()
    };
    let upstreams = join_all(app.catalog.upstreams().iter().map(|upstream| async move {
        (
            upstream.name().to_owned(),
            app.catalog.ask(upstream).await.is_ok(),
        )
    }));
    let (search, upstreams) = tokio::join!(search, upstreams);
    let state = |good: bool| if good { "up" } else { "down" };
    body.insert(
        "search".to_owned(),
        json!({"backend": backend(app), "state": state(search)}),
    );
    let healthy = search && upstreams.iter().all(|(_, good)| *good);
    let upstreams: Map<String, Value> = upstreams
        .into_iter()
        .map(|(name, good)| (name, json!({"state": state(good)})))
        .collect();
    body.insert("upstreams".to_owned(), Value::Object(upstreams));
    healthy
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
