//! `groundwire check`: the configuration, and with `--online` its neighbours, one line a finding.

use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use futures_util::future::join_all;

use super::{Check, Failure, load, terminal};
use crate::{
    app::App,
    config::{Config, Environment, Purpose, SearchBackend},
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
    let mut lines = vec![
        format!("listen: {}", config.listen),
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
    lines.push(match config.keys.len() {
        0 => "keys: none, nobody is asked for one".to_owned(),
        count => format!("keys: {count}"),
    });
    lines
}

async fn online(config: Config) -> Result<(), Failure> {
    let building = tokio::task::spawn_blocking(move || App::build(config)).await;
    let app = building
        .map_err(|error| Failure::running("the check died", error))?
        .map_err(|error| Failure::Running(error.to_string()))?;
    let search = async {
        let began = Instant::now();
        let documents = &app.probed_search().documents;
        let outcome = documents.workspaces(Page { number: 1, size: 1 }).await;
        let told = outcome
            .map(|listed| format!("{} workspaces", listed.total))
            .map_err(|error| error.to_string());
        ("search".to_owned(), told, began.elapsed())
    };
    let catalog = &app.catalog;
    let upstreams = join_all(catalog.upstreams().iter().map(|upstream| async move {
        let began = Instant::now();
        let outcome = catalog.ask(upstream).await;
        let told = outcome
            .map(|count| format!("{count} models"))
            .map_err(|error| error.to_string());
        (
            format!("upstream {}", upstream.name()),
            told,
            began.elapsed(),
        )
    }));
    let (search, upstreams) = tokio::join!(search, upstreams);
    let mut failed = 0;
    for (name, outcome, took) in std::iter::once(search).chain(upstreams) {
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
