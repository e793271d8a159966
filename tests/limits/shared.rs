//! Limits that several gateways share, against a real server: together, without it, and with it again.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    ask, key, knock, metric, number, question,
    redis_server::RedisServer,
    refused,
    support::{
        answer::Answer, gateway::Gateway, lighton::FakeLightOn, reply::Reply, server::Server,
        upstream::completion,
    },
};

/// How long something may take that must happen, such as the return of a server.
const PATIENCE: Duration = Duration::from_secs(30);

/// Long, for the tests in which the server is there: a slow machine must not look like a server that is away.
const PATIENT: &str = "timeout = \"20s\"";

const UP: &str = "groundwire_shared_limits_up";

/// A gateway that shares the limits of its key `acme`.
async fn sharing(redis: &RedisServer, shared: &str, upstream: &Server, limits: &str) -> Gateway {
    let settings = format!(
        "rag.mode = \"off\"\nretry.attempts = 1\n[limits.shared]\nredis_url = \"{}\"\n{shared}\n{}",
        redis.url(),
        key("acme", limits)
    );
    Gateway::start(&FakeLightOn::new(), upstream, &settings).await
}

/// Knocks until `enough` says so.
async fn until(gateway: &Gateway, what: &str, enough: impl AsyncFn(&Answer) -> bool) -> Answer {
    let began = Instant::now();
    loop {
        let answer = knock(gateway, "acme").await;
        if enough(&answer).await {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{what} never came: {answer:?}");
    }
}

#[tokio::test]
async fn two_gateways_share_one_limit() {
    let redis = RedisServer::start().await;
    let limits = "requests_per_minute = 3";
    let one = sharing(&redis, PATIENT, &Server::new(), limits).await;
    let two = sharing(&redis, PATIENT, &Server::new(), limits).await;

    for (gateway, left) in [(&one, 2), (&two, 1), (&one, 0)] {
        let answer = knock(gateway, "acme").await;
        assert_eq!(answer.status, 404);
        assert_eq!(number(&answer, "x-ratelimit-remaining-requests"), left);
    }
    for gateway in [&one, &two] {
        let refusal = knock(gateway, "acme").await;
        assert!(refused(&refusal, "3 requests a minute") <= 20);
    }
    assert_eq!(metric(&one, UP).await, Some(1.0));
}

#[tokio::test]
async fn what_an_answer_took_at_one_gateway_is_owed_at_the_other() {
    let redis = RedisServer::start().await;
    let reply = |tokens: u64| {
        let mut answer = completion("x");
        answer["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
        Reply::json(answer)
    };
    let costly = Server::new().then(reply(50_000));
    let cheap = Server::new().always("/v1/chat/completions", reply(1));
    let limits = "tokens_per_minute = 1000";
    let one = sharing(&redis, PATIENT, &costly, limits).await;
    let two = sharing(&redis, PATIENT, &cheap, limits).await;
    let body = question(json!({}));

    assert_eq!(ask(&one, "acme", &body).await.status, 200);

    // It is told behind the answer, so the other may let a few through before it knows.
    let began = Instant::now();
    let refusal = loop {
        let answer = ask(&two, "acme", &body).await;
        if answer.status != 200 {
            break answer;
        }
        assert!(began.elapsed() < PATIENCE, "it was never told");
    };
    assert!(refused(&refusal, "1000 tokens a minute") > 600);
}

#[tokio::test]
async fn a_bucket_at_the_server_gives_room_back_when_it_said_it_would() {
    let redis = RedisServer::start().await;
    let gateway = sharing(&redis, PATIENT, &Server::new(), "requests_per_minute = 30").await;
    let refusal = until(&gateway, "the limit", async |answer| answer.status == 429).await;
    let seconds = refused(&refusal, "30 requests a minute");
    assert!(seconds <= 2, "{seconds}");

    // This is what OpenAI's clients do with `Retry-After`.
    tokio::time::sleep(Duration::from_secs(seconds)).await;

    assert_eq!(knock(&gateway, "acme").await.status, 404);
}

#[tokio::test]
async fn while_the_server_is_away_each_gateway_counts_for_itself_and_then_together_again() {
    let mut redis = RedisServer::start().await;
    let slow = key("slow", "requests_per_minute = 4");
    let limits = format!("requests_per_minute = 1000000\n{slow}");
    let one = sharing(&redis, PATIENT, &Server::new(), &limits).await;
    let two = sharing(&redis, PATIENT, &Server::new(), &limits).await;
    let left = async |gateway: &Gateway| {
        let answer = knock(gateway, "slow").await;
        assert_eq!(answer.status, 404);
        number(&answer, "x-ratelimit-remaining-requests")
    };
    assert_eq!((left(&one).await, left(&two).await), (3, 2));

    redis.kill();
    // Each goes on from what it saw last.
    assert_eq!((left(&one).await, left(&two).await), (2, 1));
    assert_eq!(metric(&one, UP).await, Some(0.0));

    redis.restart().await;
    let is_back = async |_: &Answer| metric(&one, UP).await == Some(1.0);
    until(&one, "the server", is_back).await;
    let is_back = async |_: &Answer| metric(&two, UP).await == Some(1.0);
    until(&two, "the server", is_back).await;
    // It kept nothing, so they begin anew, together.
    assert_eq!((left(&one).await, left(&two).await), (3, 2));
}

#[tokio::test]
async fn while_the_server_is_away_limited_keys_are_refused_where_the_operator_wants_it() {
    let mut redis = RedisServer::start().await;
    let keys = format!("requests_per_minute = 1000000\n{}", key("free", ""));
    let shared = "on_shared_error = \"refuse\"";
    let gateway = sharing(&redis, shared, &Server::new(), &keys).await;
    until(&gateway, "the server", async |answer| answer.status == 404).await;

    redis.kill();
    let refusal = knock(&gateway, "acme").await;
    let free = knock(&gateway, "free").await;
    redis.restart().await;

    refusal.error(503, "overloaded_error", "overloaded");
    assert_eq!(refusal.header("retry-after"), Some("1"));
    assert_eq!(free.status, 404, "a key without limits needs no server");
    let counted = "groundwire_limited_total{key=\"acme\",limit=\"shared\"}";
    assert!(metric(&gateway, counted).await >= Some(1.0));
    until(&gateway, "the server", async |answer| answer.status == 404).await;
}

#[tokio::test]
async fn a_server_that_stalls_holds_no_request_up() {
    let redis = RedisServer::start().await;
    let limits = "requests_per_minute = 1000000";
    let gateway = sharing(&redis, "timeout = \"500ms\"", &Server::new(), limits).await;
    assert_eq!(knock(&gateway, "acme").await.status, 404);

    redis.signal("STOP");
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(knock(&gateway, "acme").await.status, 404);
    }
    let took = began.elapsed();
    let up = metric(&gateway, UP).await;
    redis.signal("CONT");

    assert_eq!(up, Some(0.0));
    // If each had waited for it, this would be fifty seconds at least.
    assert!(took < Duration::from_secs(40), "{took:?}");
    let is_back = async |_: &Answer| metric(&gateway, UP).await == Some(1.0);
    until(&gateway, "the server", is_back).await;
}

#[tokio::test]
async fn a_server_that_lost_its_scripts_is_given_them_again() {
    let mut redis = RedisServer::start().await;
    let gateway = sharing(&redis, PATIENT, &Server::new(), "requests_per_minute = 9").await;
    assert_eq!(
        number(
            &knock(&gateway, "acme").await,
            "x-ratelimit-remaining-requests"
        ),
        8
    );

    redis.kill();
    redis.restart().await;

    // It kept nothing, so all of the limit is there again.
    let answer = knock(&gateway, "acme").await;
    assert_eq!(number(&answer, "x-ratelimit-remaining-requests"), 8);
    assert_eq!(metric(&gateway, UP).await, Some(1.0));
}

#[tokio::test]
async fn readiness_tells_of_the_server_and_fails_with_it_only_where_limited_keys_do() {
    for (policy, degraded) in [("local", 200), ("refuse", 503)] {
        let mut redis = RedisServer::start().await;
        let lighton = Server::new().always("/api/v3/workspaces", no_workspaces());
        let upstream = Server::new().always("/v1/models", Reply::json(json!({"data": []})));
        let settings = format!(
            "[limits.shared]\nredis_url = \"{}\"\non_shared_error = \"{policy}\"\n",
            redis.url()
        );
        let gateway = Gateway::start(&lighton, &upstream, &settings).await;

        let before = gateway.get("/readyz?deep=1").await;
        redis.kill();
        let after = gateway.get("/readyz?deep=1").await;

        assert_eq!(before.json()["shared_limits"]["state"], "up");
        assert_eq!(after.status, degraded, "{policy}");
        assert!(
            after
                .text()
                .contains("\"shared_limits\":{\"state\":\"down\"}")
        );
    }
}

fn no_workspaces() -> Reply {
    Reply::json(json!({"count": 0, "next": null, "previous": null, "results": []}))
}

#[test]
fn the_address_of_the_server_is_never_printed() {
    let text = "[upstreams.ollama]\n[limits.shared]\nredis_url = 'redis://me:hunter2@redis.internal:6379'\n";
    let env = groundwire::config::Environment::from([("LIGHTON_API_KEY", "lo-secret-k")]);
    let config = groundwire::config::Config::parse(text, &env).unwrap();
    let limiter = groundwire::access::Limiter::new(&[], config.limits.shared.as_ref(), None);

    let printed = format!("{config:?} {limiter:?}");

    assert!(!printed.contains("hunter2") && !printed.contains("redis.internal"));
}
