//! An upstream that keeps failing: retries do not multiply it, requests go elsewhere, and it is tried again.

use std::time::Instant;

use groundwire::{
    app::App,
    config::{Config, Environment},
    upstream::{self, health::Condition},
};
use serde_json::{Value, json};

use crate::{
    metrics::{metrics, sample},
    program::Program,
    question,
    support::{
        gateway::Gateway,
        lighton::FakeLightOn,
        reply::Reply,
        server::Server,
        upstream::{refuses, says},
    },
};

/// An upstream that is down for every question.
fn down() -> Server {
    Server::new().always("/v1/chat/completions", Reply::status(503))
}

/// A gateway whose model `m` is `first`'s, then `second`'s; `retry` is what `[retry]` says.
async fn falling(first: &Server, second: &Server, retry: &str) -> Gateway {
    let text = format!(
        r#"
        rag.mode = "off"
        [retry]
        {retry}
        [upstreams.first]
        base_url = "${{FIRST}}/v1"
        [upstreams.second]
        base_url = "${{SECOND}}/v1"
        [models.m]
        upstream = "first"
        fallback = ["second/m"]
    "#
    );
    Gateway::of(&text, &[("FIRST", first), ("SECOND", second)]).await
}

async fn state(gateway: &Gateway, upstream: &str) -> Value {
    let ready = gateway.get("/readyz").await.json();
    ready["upstreams"][upstream].clone()
}

async fn up(gateway: &Gateway, upstream: &str) -> Option<f64> {
    let label = format!("upstream=\"{upstream}\"");
    sample(&metrics(gateway).await, "groundwire_upstream_up", &[&label])
}

#[tokio::test]
async fn retries_do_not_multiply_an_outage() {
    const REQUESTS: usize = 100;
    let upstream = down();
    let settings =
        "rag.mode = \"off\"\n[retry]\nmax_wait = \"1ms\"\nbudget = 0.1\nset_aside_after = 0\n";
    let gateway = Gateway::start(&FakeLightOn::new(), &upstream, settings).await;
    let began = Instant::now();

    let mut last = gateway.ask(&question("x")).await;
    for _ in 1..REQUESTS {
        last = gateway.ask(&question("x")).await;
    }

    // A hundred at once, a tenth of the calls, and ten for each second that this took.
    let seconds = began.elapsed().as_secs_f64().ceil();
    let text = metrics(&gateway).await;
    let retries = sample(&text, "groundwire_retries_total", &[]).unwrap();
    let refused = sample(&text, "groundwire_retries_refused_total", &[]).unwrap();
    assert!(
        (100.0..=110.0 + 10.0 * seconds).contains(&retries),
        "{retries}"
    );
    assert!(refused > 0.0);
    assert_eq!(upstream.requests().len(), REQUESTS + retries as usize);
    last.error(503, "upstream_error", "upstream_error");
    assert_eq!(last.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn the_budget_holds_for_search_too() {
    let lighton = FakeLightOn::new().always("/api/v3/search", Reply::status(500));
    let upstream = Server::new();
    let settings = "[retry]\nmax_wait = \"1ms\"\nbudget = 0.0\n";
    let gateway = Gateway::start(&lighton, &upstream, settings).await;
    let began = Instant::now();

    for number in 0..100 {
        let answer = gateway.ask(&question(&number.to_string())).await;
        answer.error(502, "search_error", "search_unavailable");
    }

    let allowed = 100 + 10 * (began.elapsed().as_secs() as usize + 1);
    let retries = lighton.requests().len() - 100;
    assert!((100..=allowed).contains(&retries), "{retries}");
}

#[tokio::test]
async fn an_upstream_that_keeps_failing_is_set_aside_and_requests_go_straight_to_the_fallback() {
    let first = down();
    let second = Server::new().always("/v1/chat/completions", says("fine"));
    let settings = "attempts = 1\nset_aside_after = 2\nset_aside = \"1h\"";
    let gateway = falling(&first, &second, settings).await;
    assert_eq!(
        state(&gateway, "first").await,
        json!({"state": "configured"})
    );

    gateway.ask(&question("x")).await.json();
    assert_eq!(
        state(&gateway, "first").await,
        json!({"state": "failing", "failures": 1})
    );
    for _ in 0..5 {
        let answer = gateway.ask(&question("x")).await;
        answer.json();
        assert_eq!(answer.header("x-groundwire-upstream"), Some("second"));
    }

    assert_eq!(first.requests().len(), 2, "the others went straight on");
    let told = state(&gateway, "first").await;
    assert_eq!(told["state"], "set_aside");
    assert!(told["until"].as_str().unwrap().ends_with('Z'), "{told}");
    assert_eq!(state(&gateway, "second").await, json!({"state": "up"}));
    assert_eq!(up(&gateway, "first").await, Some(0.0));
    assert_eq!(up(&gateway, "second").await, Some(1.0));
    let text = metrics(&gateway).await;
    let fallbacks = sample(&text, "groundwire_fallbacks_total", &["upstream=\"first\""]);
    assert_eq!(fallbacks, Some(6.0));
}

#[tokio::test]
async fn one_that_is_set_aside_is_the_last_resort() {
    let first = down();
    let second = down();
    let settings = "attempts = 1\nset_aside_after = 2\nset_aside = \"1h\"";
    let gateway = falling(&first, &second, settings).await;
    for _ in 0..2 {
        gateway.ask(&question("x")).await;
    }
    let (before, after) = (first.requests().len(), second.requests().len());

    let answer = gateway.ask(&question("x")).await;

    answer.error(503, "upstream_error", "upstream_error");
    assert_eq!(first.requests().len(), before + 1);
    assert_eq!(second.requests().len(), after + 1);
}

#[tokio::test]
async fn after_a_while_one_request_tries_it_and_an_answer_brings_it_back() {
    let first = Server::new()
        .then(Reply::status(500))
        .then(Reply::closed())
        .then(says("back"))
        .then(says("back"));
    let second = Server::new().then(says("fine")).then(says("fine"));
    let settings = "attempts = 1\nset_aside_after = 2\nset_aside = \"1ms\"";
    let gateway = falling(&first, &second, settings).await;
    for _ in 0..2 {
        gateway.ask(&question("x")).await.json();
    }
    assert_eq!(state(&gateway, "first").await["state"], "set_aside");

    for _ in 0..2 {
        let answer = gateway.ask(&question("x")).await;
        answer.json();
        assert_eq!(answer.header("x-groundwire-upstream"), Some("first"));
    }

    assert_eq!(state(&gateway, "first").await, json!({"state": "up"}));
    assert_eq!(up(&gateway, "first").await, Some(1.0));
}

#[tokio::test]
async fn the_only_upstream_is_asked_however_often_it_failed() {
    let upstream = Server::new()
        .then(Reply::closed())
        .then(Reply::status(500))
        .then(Reply::json(json!({"error": "overloaded"})))
        .then(says("back"));
    let settings =
        "rag.mode = \"off\"\n[retry]\nattempts = 1\nset_aside_after = 2\nset_aside = \"1h\"\n";
    let gateway = Gateway::start(&FakeLightOn::new(), &upstream, settings).await;
    for _ in 0..3 {
        gateway.ask(&question("x")).await;
    }
    assert_eq!(up(&gateway, "model").await, Some(0.0));

    gateway.ask(&question("x")).await.json();

    assert_eq!(state(&gateway, "model").await, json!({"state": "up"}));
    assert_eq!(up(&gateway, "model").await, Some(1.0));
}

#[tokio::test]
async fn refusals_set_nothing_aside() {
    let upstream = Server::new()
        .then(refuses(429, "slow down").header("retry-after", 60))
        .then(refuses(400, "no"))
        .then(refuses(404, "no"))
        .then(Reply::status(401));
    let settings = "rag.mode = \"off\"\nretry.set_aside_after = 1\n";
    let gateway = Gateway::start(&FakeLightOn::new(), &upstream, settings).await;

    for status in [429, 400, 404, 502] {
        assert_eq!(gateway.ask(&question("x")).await.status, status);
        assert_eq!(up(&gateway, "model").await, Some(1.0), "{status}");
    }
}

#[tokio::test]
async fn one_that_lists_its_models_and_answers_nothing_is_not_ready_by_a_deep_look() {
    let lighton =
        FakeLightOn::new().always("/api/v3/workspaces", Reply::json(json!({"results": []})));
    let upstream = down().always("/v1/models", Reply::json(json!({"data": []})));
    let settings =
        "rag.mode = \"off\"\n[retry]\nattempts = 1\nset_aside_after = 1\nset_aside = \"1h\"\n";
    let gateway = Gateway::start(&lighton, &upstream, settings).await;
    assert_eq!(gateway.get("/readyz?deep=1").await.status, 200);

    gateway.ask(&question("x")).await;

    assert_eq!(gateway.get("/readyz").await.status, 200);
    let deep = gateway.get("/readyz?deep=1").await;
    assert_eq!(deep.status, 503, "{}", deep.text());
    assert!(deep.text().contains("set_aside"), "{}", deep.text());
}

// In the field: a gateway that only relays was never ready by a deep look.
#[tokio::test]
async fn where_nothing_can_search_no_search_is_down() {
    let upstream = Server::new().always("/v1/models", refuses(401, "no key"));
    // Nor is an upstream down that asks for a caller's key, which the gateway has none of.
    let program = Program::serve(&format!(
        "allow_overrides = false\n[rag]\nmode = \"off\"\n[upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"client\"\n",
        upstream.url()
    ))
    .await;

    for path in ["/readyz", "/readyz?deep=1"] {
        let ready = program.get(path).await;
        assert_eq!(ready.status(), 200, "{path}");
        let body: Value = ready.json().await.unwrap();
        assert_eq!(body["search"]["state"], "off", "{path}");
    }
}

#[test]
fn a_reload_does_not_forget_who_is_set_aside() {
    let config = |text: &str| {
        let one = "[upstreams.one]\nbase_url = \"http://127.0.0.1:1/v1\"\n";
        Config::parse(&format!("{text}\n{one}"), &Environment::default()).unwrap()
    };
    let before = App::build(config("rag.mode = \"off\"\nallow_overrides = false")).unwrap();
    let policy = &before.config.retry;
    for _ in 0..policy.set_aside_after {
        let failure = upstream::Error::Truncated {
            upstream: "one".into(),
        };
        before.catalog.upstreams()[0].note::<()>(&Err(failure), policy);
    }

    for change in ["retry.budget = 0.5", "limits.concurrent_requests = 7"] {
        let text = format!("rag.mode = \"off\"\nallow_overrides = false\n{change}");
        let after = before.rebuild(config(&text)).unwrap();

        let condition = after.catalog.upstreams()[0].health.condition();
        assert!(
            matches!(condition, Condition::SetAside(5, _)),
            "{condition:?}"
        );
    }
}
