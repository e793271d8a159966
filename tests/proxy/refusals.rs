//! The rest of the table of errors: what search and upstreams refuse, and in which words.

use serde_json::{Value, json};

use crate::{
    question,
    support::{
        answer::Answer,
        gateway::{Gateway, MODEL_KEY},
        lighton::{FakeLightOn, found, invalid, maintenance, refusal},
        reply::Reply,
        server::Server,
        upstream::{chunk, says},
    },
};

const ONCE: &str = "[retry]\nattempts = 1\n";

#[tokio::test]
async fn each_failure_of_search_has_its_code() {
    let no = Some("false");
    for (reply, status, kind, code, retry) in [
        (
            refusal(401, "unauthorized", "Bad key"),
            502,
            "search_error",
            "search_authentication",
            no,
        ),
        (
            refusal(403, "forbidden", "Nothing"),
            403,
            "permission_error",
            "workspace_not_found",
            None,
        ),
        (
            refusal(429, "rate_limited", "Slow down").header("retry-after", 7),
            429,
            "search_error",
            "search_rate_limited",
            None,
        ),
        (maintenance(), 502, "search_error", "search_unavailable", no),
        (
            Reply::status(500),
            502,
            "search_error",
            "search_unavailable",
            no,
        ),
        (
            Reply::body("text/html", "<h1>http://10.0.0.1</h1>").with_status(502),
            502,
            "search_error",
            "search_unavailable",
            no,
        ),
        (
            Reply::closed(),
            502,
            "search_error",
            "search_unavailable",
            no,
        ),
        (
            Reply::body("application/json", "{\"results\": 1}"),
            502,
            "search_error",
            "search_unavailable",
            no,
        ),
        (
            Reply::silence(),
            504,
            "search_error",
            "search_timeout",
            None,
        ),
    ] {
        for stream in [false, true] {
            let lighton = FakeLightOn::new().then(reply.clone());
            let gateway = Gateway::start(
                &lighton,
                &Server::new(),
                &format!("{ONCE}[search]\ntimeout = \"2s\"\n"),
            )
            .await;

            let answer = gateway.ask(&question(json!({"stream": stream}))).await;

            answer.error(status, kind, code);
            assert_eq!(answer.header("x-should-retry"), retry, "{reply:?}");
            let wait = (status == 429).then_some("7");
            assert_eq!(answer.header("retry-after"), wait, "{reply:?}");
        }
    }
}

#[tokio::test]
async fn an_option_that_search_refuses_is_named() {
    let lighton = FakeLightOn::new().then(invalid("tag_id", "Unknown tag of http://10.0.0.1"));
    let gateway = Gateway::start(&lighton, &Server::new(), "").await;

    let answer = gateway.ask(&question(json!({"rag": {"tag_id": 9}}))).await;

    let error = answer.error(400, "invalid_request_error", "invalid_value");
    assert_eq!(error["param"], "rag.tag_id");
}

#[tokio::test]
async fn searches_beyond_the_operators_pace_are_turned_away() {
    let lighton = FakeLightOn::new().always("/api/v3/search", found([]));
    let upstream = Server::new().always("/v1/chat/completions", says("a"));
    let gateway = Gateway::start(
        &lighton,
        &upstream,
        "[search]\nrequests_per_minute = 1\ntimeout = \"2s\"\n",
    )
    .await;

    let statuses = [
        gateway.ask(&question(json!({}))).await,
        gateway.ask(&question(json!({"x": 1}))).await,
    ];

    assert_eq!(statuses[0].status, 200);
    statuses[1].error(429, "search_error", "search_rate_limited");
    assert!(statuses[1].header("retry-after").is_some());
}

/// The answer of a gateway whose upstream, called `name`, replies so.
async fn refused_by(name: &str, reply: Reply) -> Answer {
    let lighton = FakeLightOn::new();
    let upstream = Server::new().then(reply);
    let text = format!(
        "rag.mode = \"off\"\n{ONCE}[upstreams.{name}]\nbase_url = \"${{MODEL}}/v1\"\napi_key = \"md-secret-93ab\"\nmodels = [\"m\"]\n"
    );
    let gateway = Gateway::of(&text, &[("SEARCH", &lighton), ("MODEL", &upstream)]).await;
    gateway.ask(&question(json!({}))).await
}

#[tokio::test]
async fn a_refusal_of_the_gateways_own_key_is_the_operators_business() {
    let body = || json!({"error": {"message": "Incorrect API key provided: md-secret-93ab", "type": "invalid_request_error", "code": "invalid_api_key"}});
    for (name, status) in [
        ("gpu", 401),
        ("scaleway", 401),
        ("scaleway", 403),
        ("ovhcloud", 403),
    ] {
        let answer = refused_by(name, Reply::json(body()).with_status(status)).await;
        answer.error(502, "upstream_error", "upstream_authentication");
        assert_eq!(
            answer.header("x-should-retry"),
            Some("false"),
            "{name} {status}"
        );
        assert_eq!(
            answer.header("www-authenticate"),
            None,
            "the client's own key was good"
        );
    }
    let forbidden = refused_by(
        "gpu",
        Reply::json(json!({"error": {"message": "no such region"}})).with_status(403),
    )
    .await;
    forbidden.error(403, "permission_error", "upstream_error");
}

#[tokio::test]
async fn every_shape_of_an_upstreams_error_becomes_openais() {
    let plain = |message: &str, kind: &str, param: Value, code: &str| {
        (message.to_owned(), kind.to_owned(), param, code.to_owned())
    };
    let request = "invalid_request_error";
    for (status, body, (message, kind, param, code)) in [
        (
            400,
            r#"{"error":{"message":"m","type":"t","param":"p","code":"c"}}"#,
            plain("m", "t", json!("p"), "c"),
        ),
        (
            400,
            r#"{"error":{"message":"m","type":"BadRequestError","param":null,"code":400}}"#,
            plain("m", "BadRequestError", json!(null), "400"),
        ),
        (
            400,
            r#"{"object":"error","message":"m","type":"t","param":null,"code":400}"#,
            plain("m", "t", json!(null), "400"),
        ),
        (
            422,
            r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","x"],"msg":"no"}]},"type":"invalid_request_error"}"#,
            plain("body.x: no", request, json!(null), "upstream_error"),
        ),
        (
            422,
            r#"{"detail":[{"loc":["body","store"],"msg":"no","input":false}]}"#,
            plain("body.store: no", request, json!(null), "upstream_error"),
        ),
        (
            422,
            r#"{"error":"bad","error_type":"validation"}"#,
            plain("bad", "validation", json!(null), "upstream_error"),
        ),
        (
            404,
            r#"{"detail":"m"}"#,
            plain("m", request, json!(null), "upstream_error"),
        ),
        (
            402,
            r#"{"error":{"code":402,"message":"m","metadata":{"x":1}}}"#,
            plain("m", request, json!(null), "402"),
        ),
        (
            400,
            r#""m""#,
            plain("m", request, json!(null), "upstream_error"),
        ),
    ] {
        let answer = refused_by(
            "gpu",
            Reply::body("application/json", body).with_status(status),
        )
        .await;
        let error = answer.error(status, &kind, &code);
        assert_eq!(
            (&error["message"], &error["param"]),
            (&json!(message), &param),
            "{body}"
        );
    }
}

#[tokio::test]
async fn pages_and_nothing_become_a_sentence() {
    for (status, kind) in [
        (429, "rate_limit_error"),
        (404, "invalid_request_error"),
        (500, "upstream_error"),
        (503, "upstream_error"),
        (529, "upstream_error"),
    ] {
        for reply in [
            Reply::status(status),
            Reply::body("text/html", "<html>http://10.0.0.7</html>").with_status(status),
            Reply::body("application/json", "{").with_status(status),
        ] {
            let error = refused_by("gpu", reply)
                .await
                .error(status, kind, "upstream_error");
            assert!(!error["message"].as_str().unwrap().contains('<'));
        }
    }
}

#[tokio::test]
async fn an_error_under_200_has_the_status_that_it_means() {
    for (body, status, kind, code) in [
        (
            json!({"error": {"message": "m", "type": "t", "code": 429}}),
            429,
            "t",
            "429",
        ),
        (
            json!({"error": {"message": "m", "type": "t", "code": "oops"}}),
            502,
            "t",
            "oops",
        ),
        (
            json!({"error": "m"}),
            502,
            "upstream_error",
            "upstream_error",
        ),
        (
            json!({"object": "error", "message": "m", "code": 400}),
            400,
            "invalid_request_error",
            "400",
        ),
    ] {
        let error = refused_by("gpu", Reply::json(body.clone()))
            .await
            .error(status, kind, code);
        assert_eq!(error["message"], "m", "{body}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Server::new();
    for status in [301, 302, 303, 307, 308] {
        let answer = refused_by(
            "gpu",
            Reply::status(status).header("location", elsewhere.url()),
        )
        .await;
        answer.error(502, "upstream_error", "upstream_invalid_response");
        assert_eq!(answer.header("location"), None);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_key_that_an_upstream_quotes_in_its_error_reaches_nobody() {
    let quoted = json!({"error": {"message": format!("no such deployment for {MODEL_KEY}"), "type": "t", "param": null, "code": "c"}});
    let event = Reply::stream("text/event-stream")
        .piece(format!("data: {}\n\n", chunk("Five")))
        .piece(format!("data: {quoted}\n\n"));
    for (reply, stream) in [
        (Reply::json(quoted.clone()).with_status(404), false),
        (Reply::json(quoted.clone()), false),
        (event, true),
    ] {
        let lighton = FakeLightOn::new();
        let upstream = Server::new().then(reply);
        let settings = "rag.mode = \"off\"\nretry.attempts = 1";
        let gateway = Gateway::start(&lighton, &upstream, settings).await;

        let answer = gateway.ask(&question(json!({"stream": stream}))).await;

        assert!(
            answer.text().contains("no such deployment"),
            "{}",
            answer.text()
        );
        assert!(!answer.text().contains(MODEL_KEY), "{}", answer.text());
    }
}

#[tokio::test]
async fn an_upstreams_address_that_it_quotes_in_its_error_reaches_nobody() {
    let upstream = Server::new();
    let message = format!(
        "POST {}/v1/chat/completions: the worker does not answer",
        upstream.url()
    );
    let error = json!({"error": {"message": message, "type": "t", "param": null, "code": "c"}});
    let upstream = upstream.then(Reply::json(error).with_status(418));
    let settings = "rag.mode = \"off\"\nretry.attempts = 1";
    let gateway = Gateway::start(&FakeLightOn::new(), &upstream, settings).await;

    let answer = gateway.ask(&question(json!({}))).await;

    // `error` looks for addresses.
    let error = answer.error(418, "t", "c");
    assert_eq!(
        error["message"],
        "POST (address)/chat/completions: the worker does not answer"
    );
}
