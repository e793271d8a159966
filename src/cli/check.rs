//! `groundwire check`: the configuration, and with `--online` its neighbours, one line a finding.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style};
use futures_util::future::join_all;
use jiff::Timestamp;

use super::{Check, Failure, load, terminal};
use crate::{
    access::Reach,
    app::{App, Search},
    config::{Config, Environment, Key, Purpose, SearchBackend},
    retrieval::documents::Page,
};

/// Reads the configuration; every problem is told by the caller.
pub(super) async fn run(args: Check, env: &Environment) -> Result<(), Failure> {
    let loaded = load(&args.source, None, Purpose::Serve, env)?;
    let from = loaded.file.map_or_else(
        || "the environment alone".to_owned(),
        |file| file.display().to_string(),
    );
    terminal::data(&format!("{} configuration: {from}", mark(true)))?;
    for line in summary(&loaded.config) {
        terminal::data(&format!("  {line}"))?;
    }
    if args.online {
        online(loaded.config).await
    } else {
        Ok(())
    }
}

fn summary(config: &Config) -> Vec<String> {
    let search = match &config.search.backend {
        SearchBackend::LightOn {
            base_url, api_key, ..
        } => {
            format!(
                "search: LightOn at {base_url}{}",
                if api_key.is_some() {
                    ""
                } else {
                    " (no key: nothing can search)"
                }
            )
        }
        SearchBackend::Local { documents } => format!("search: the folder {}", documents.display()),
    };
    let encrypted = if config.tls.is_some() { " (TLS)" } else { "" };
    let mut lines = vec![
        format!("listen: {}{encrypted}", config.listen),
        format!("mode: {}", config.rag.mode.word()),
        search,
    ];
    lines.extend(
        config
            .upstreams
            .iter()
            .map(|upstream| format!("upstream {}: {}", upstream.name, upstream.base_url)),
    );
    lines.extend(
        config
            .models
            .iter()
            .map(|model| format!("model {}: {}/{}", model.name, model.upstream, model.model)),
    );
    if let Some(apart) = config.admin_listen {
        lines.insert(1, format!("admin: {apart}"));
    }
    if let Some(telemetry) = &config.telemetry {
        lines.push(format!("telemetry: {}", telemetry.otlp_endpoint));
    }
    lines.push(keys(&config.keys));
    lines
}

fn keys(keys: &[Key]) -> String {
    if keys.is_empty() {
        return "keys: none, nobody is asked for one".to_owned();
    }
    let now = Timestamp::now();
    let disabled = keys.iter().filter(|key| key.disabled).count();
    let expired = keys
        .iter()
        .filter(|key| key.expires.is_some_and(|end| end <= now));
    let asides = [(disabled, "disabled"), (expired.count(), "expired")];
    let asides = asides
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!(", {count} {what}"));
    format!("keys: {}{}", keys.len(), asides.collect::<String>())
}

async fn online(config: Config) -> Result<(), Failure> {
    let building = tokio::task::spawn_blocking(move || App::build(config)).await;
    let app = building
        .map_err(|error| Failure::running("the check died", error))?
        .map_err(|error| Failure::Running(error.to_string()))?;
    let searches = join_all(searches(&app).into_iter().map(|(name, search)| async move {
        let began = Instant::now();
        let documents = &search.documents;
        let outcome = documents.workspaces(Page { number: 1, size: 1 }).await;
        let told = outcome
            .map(|listed| format!("{} workspaces", listed.total))
            .map_err(|error| error.to_string());
        (name, told, began.elapsed())
    }));
    let catalog = &app.catalog;
    let upstreams = join_all(catalog.upstreams().iter().map(|upstream| async move {
        let began = Instant::now();
        let outcome = catalog.ask(upstream).await;
        let told = outcome
            .map(|count| match count {
                Some(count) => format!("{count} models"),
                None => "lists its models to the keys of callers".to_owned(),
            })
            .map_err(|error| error.to_string());
        (
            format!("upstream {}", upstream.name()),
            told,
            began.elapsed(),
        )
    }));
    let shared = async {
        let began = Instant::now();
        let told = match app.limiter.probe().await? {
            Reach::Up => Ok("counts".to_owned()),
            Reach::Away => Err("the server does not answer, or not as Redis does".to_owned()),
        };
        Some(("limits.shared".to_owned(), told, began.elapsed()))
    };
    let telemetry = async {
        let began = Instant::now();
        let told = app.outbox.probe().await?;
        Some(("telemetry".to_owned(), told, began.elapsed()))
    };
    let (searches, upstreams, shared, telemetry) =
        tokio::join!(searches, upstreams, shared, telemetry);
    let mut failed = 0;
    let all = searches.into_iter().chain(upstreams);
    for (name, outcome, took) in all.chain(shared).chain(telemetry) {
        failed += usize::from(outcome.is_err());
        terminal::data(&finding(&name, &outcome, took))?;
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::Running(format!(
            "{failed} of the neighbours did not answer"
        )))
    }
}

/// The gateway's search, unless only clients have keys for it or nobody has one, and that of each key that brings its own.
fn searches(app: &App) -> Vec<(String, &Arc<Search>)> {
    let own = app.config.keys.iter().filter_map(|key| {
        let search = app.search_with(key.search_api_key.as_ref()?);
        Some((format!("search of key {}", key.name), search))
    });
    let gateway = app.gateway_search();
    let is_asked = app
        .probed_search()
        .is_some_and(|probed| Arc::ptr_eq(gateway, probed));
    let gateway = is_asked.then(|| ("search".to_owned(), gateway));
    gateway.into_iter().chain(own).collect()
}

fn finding(name: &str, outcome: &Result<String, String>, took: Duration) -> String {
    match outcome {
        Ok(told) => format!("{} {name}: {told} ({} ms)", mark(true), took.as_millis()),
        Err(error) => format!("{} {name}: {error} ({} ms)", mark(false), took.as_millis()),
    }
}

/// A word and a colour: never the colour alone.
fn mark(good: bool) -> String {
    let (word, colour) = if good {
        ("ok  ", AnsiColor::Green)
    } else {
        ("FAIL", AnsiColor::Red)
    };
    let style = Style::new().fg_color(Some(colour.into())).bold();
    format!("{style}{word}{style:#}")
}
