//! `/api/v2`: LightOn Paradigm's OpenAI-compatible API.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};

use crate::service::{Answer, Service, form};

fn assert_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(
        (&answer.body["code"], &answer.body["error"]),
        (&json!(status), &json!(error)),
        "{}",
        answer.body
    );
    let names: Vec<&String> = answer.body.as_object().unwrap().keys().collect();
    assert_eq!(names, ["code", "error", "detail"]);
}

async fn embed(service: &Service, body: Value) -> Answer {
    service.post("/api/v2/embeddings", body).await
}

fn vector(answer: &Answer, index: usize) -> Vec<f64> {
    let numbers = answer.body["data"][index]["embedding"].as_array().unwrap();
    numbers
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

#[tokio::test]
async fn a_key_is_demanded_and_unknown_paths_are_404() {
    let service = Service::small().await;
    let without = service.request_without_key(Method::GET, "/api/v2/models");
    assert_error(&Answer::of(without).await, 401, "unauthorized");
    assert_error(&service.get("/api/v2/nothing").await, 404, "not_found");
    assert_error(
        &service.delete("/api/v2/models").await,
        405,
        "method_not_allowed",
    );
}

#[tokio::test]
async fn models_have_technical_names_and_types_but_no_id() {
    let service = Service::small().await;
    let answer = service.get("/api/v2/models").await;
    assert_eq!(answer.body["object"], "list");
    let models = answer.body["data"].as_array().unwrap();
    for model in models {
        assert!(
            model["name"].is_string()
                && model["technical_name"].is_string()
                && model["model_type"].is_string()
        );
        assert!(model.get("id").is_none());
    }
    let names: Vec<_> = models
        .iter()
        .map(|model| &model["technical_name"])
        .collect();
    assert_eq!(
        names,
        [
            "sandbox-extractive",
            "sandbox-reasoner",
            "sandbox-embedding"
        ]
    );
}

#[tokio::test]
async fn files_have_whole_numbers_and_one_purpose() {
    let service = Service::small().await;
    let request = service.request(Method::POST, "/api/v2/files");
    let made = Answer::of(
        request.multipart(form("puffin.md", "The puffin lands.").text("purpose", "assistants")),
    )
    .await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(
        (&made.body["object"], &made.body["purpose"]),
        (&json!("file"), &json!("documents"))
    );
    assert_eq!(
        (&made.body["bytes"], &made.body["status"]),
        (&json!(17), &json!("pending"))
    );
    assert!(made.body["created_at"].as_i64().unwrap() > 1_700_000_000);
    let path = format!("/api/v2/files/{}", made.id());

    let shown = service.get(&format!("{path}?include_content=true")).await;
    assert_eq!(shown.body["status"], "parsing", "each look moves it on");
    assert!(
        shown.body["content"]
            .as_str()
            .unwrap()
            .contains("The puffin lands.")
    );
    assert_eq!(
        service.find(json!({"query": "puffin"})).await[0]["source"]["file_id"],
        made.id()
    );

    let deleted = service.delete(&path).await;
    assert_eq!(
        (deleted.status, deleted.body),
        (200, json!({"id": made.id(), "deleted": true}))
    );
    assert_error(&service.get(&path).await, 404, "not_found");
    assert_error(&service.delete(&path).await, 404, "not_found");
}

#[tokio::test]
async fn files_are_listed_twenty_a_page_without_their_size() {
    let service = Service::small().await;
    for number in 0..18 {
        let request = service.request(Method::POST, "/api/v2/files");
        Answer::of(request.multipart(form(&format!("{number}.md"), "Text"))).await;
    }
    let first = service.get("/api/v2/files").await;
    let second = service.get("/api/v2/files?page=2").await;
    assert_eq!(
        (&first.body["object"], &first.body["count"]),
        (&json!("list"), &json!(21))
    );
    assert_eq!(first.body["next"], service.url("/api/v2/files?page=2"));
    assert_eq!(second.body["previous"], service.url("/api/v2/files?page=1"));
    assert_eq!(second.body["data"].as_array().unwrap().len(), 1);
    assert_eq!(first.body["data"][0]["filename"], "17.md", "newest first");
    assert!(first.body["data"][0].get("bytes").is_none());
    assert_error(&service.get("/api/v2/files?page=3").await, 404, "not_found");
}

#[tokio::test]
async fn bad_uploads_are_refused_in_paradigms_shape() {
    let service = Service::small().await;
    let upload = async |parts| {
        Answer::of(
            service
                .request(Method::POST, "/api/v2/files")
                .multipart(parts),
        )
        .await
    };
    assert_error(
        &upload(reqwest::multipart::Form::new().text("purpose", "documents")).await,
        400,
        "bad_request",
    );
    assert_error(&upload(form("a.exe", "MZ")).await, 400, "bad_request");
    assert_error(
        &upload(form("a.md", "Text").text("workspace_id", "999")).await,
        403,
        "forbidden",
    );
}

#[tokio::test]
async fn embeddings_come_for_each_kind_of_input() {
    let service = Service::small().await;
    for (input, count) in [
        (json!("a text"), 1),
        (json!(["a text", "another"]), 2),
        (json!([1, 2, 3]), 1),
        (json!([[1, 2], [3]]), 2),
    ] {
        let answer = embed(
            &service,
            json!({"model": "sandbox-embedding", "input": input}),
        )
        .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["data"].as_array().unwrap().len(), count);
        assert!(answer.body["usage"]["prompt_tokens"].as_i64().unwrap() > 0);
        for index in 0..count {
            assert_eq!(answer.body["data"][index]["index"], index);
            let length: f64 = vector(&answer, index)
                .iter()
                .map(|number| number * number)
                .sum();
            assert!((length - 1.0).abs() < 1e-4, "{length}");
            assert_eq!(vector(&answer, index).len(), 256);
        }
    }
}

#[tokio::test]
async fn base64_holds_the_same_numbers() {
    let service = Service::small().await;
    let ask = |format: &str| json!({"model": "sandbox-embedding", "input": "a text", "dimensions": 64, "encoding_format": format});
    let plain = embed(&service, ask("float")).await;
    let encoded = embed(&service, ask("base64")).await;
    let bytes = STANDARD
        .decode(encoded.body["data"][0]["embedding"].as_str().unwrap())
        .unwrap();
    let numbers: Vec<f64> = bytes
        .chunks(4)
        .map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap())))
        .collect();
    assert_eq!(numbers.len(), 64);
    for (a, b) in vector(&plain, 0).iter().zip(&numbers) {
        assert!((a - b).abs() < 1e-6);
    }
}

#[tokio::test]
async fn bad_requests_for_embeddings_are_refused() {
    let service = Service::small().await;
    for body in [
        json!({"model": "sandbox-embedding"}),
        json!({"model": "sandbox-embedding", "input": ""}),
        json!({"model": "sandbox-embedding", "input": []}),
        json!({"model": "sandbox-embedding", "input": {"text": "x"}}),
        json!({"model": "sandbox-embedding", "input": "x", "dimensions": 0}),
        json!({"model": "sandbox-embedding", "input": "x", "encoding_format": "words"}),
    ] {
        assert_error(&embed(&service, body).await, 400, "bad_request");
    }
    assert_error(
        &embed(&service, json!({"model": "other", "input": "x"})).await,
        404,
        "not_found",
    );
}

const GROUNDED: &str = "You are a helpful assistant. Answer the user's question using only the provided context.\n\nContext:\n\
    [tides.md]\nThe harbour opens at seven in the morning. Boats leave with the tide.";

#[tokio::test]
async fn chat_is_answered_by_the_model_service() {
    let service = Service::small().await;
    let messages = json!([
        {"role": "system", "content": GROUNDED},
        {"role": "user", "content": "When does the harbour open?"},
    ]);
    let body = json!({"model": "sandbox-extractive", "messages": messages});

    let whole = service.post("/api/v2/chat/completions", body.clone()).await;
    assert_eq!(whole.status, 200, "{}", whole.body);
    assert_eq!(whole.body["object"], "chat.completion");
    let content = whole.body["choices"][0]["message"]["content"]
        .as_str()
        .unwrap();
    assert!(content.contains("The harbour opens at seven"), "{content}");

    let mut streamed = body;
    streamed["stream"] = json!(true);
    let request = service
        .request(Method::POST, "/api/v2/chat/completions")
        .json(&streamed);
    let text = request.send().await.unwrap().text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");

    let unknown = json!({"model": "gpt-9", "messages": messages});
    assert_eq!(
        service
            .post("/api/v2/chat/completions", unknown)
            .await
            .status,
        404
    );
    let without = service.request_without_key(Method::POST, "/api/v2/chat/completions");
    assert_error(
        &Answer::of(without.json(&json!({}))).await,
        401,
        "unauthorized",
    );
}

#[tokio::test]
async fn legacy_completions_are_answered_too() {
    let service = Service::small().await;
    let prompt = format!("{GROUNDED}\n\nWhen does the harbour open?");
    let body = json!({"model": "sandbox-extractive", "prompt": prompt, "max_tokens": 100});
    let answer = service.post("/api/v2/completions", body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["object"], "text_completion");
    let text = answer.body["choices"][0]["text"].as_str().unwrap();
    assert!(text.contains("The harbour opens at seven"), "{text}");
}
