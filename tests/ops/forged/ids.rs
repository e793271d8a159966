//! Ids: of models, workspaces, files and requests. An id has one spelling, and everything else is nobody's.

use super::{Door, Plain, Refused::As, body};

#[tokio::test]
async fn a_model_is_called_by_a_name() {
    let door = Door::silent().await;
    let unknown = As(404, "model_not_found", "model");
    let model = |name: &str| {
        let name = serde_json::to_string(name).unwrap();
        Plain::chat(body("").replace("\"m\"", &name))
    };
    let listed = |id: &str| Plain::get(&format!("/v1/models/{id}"));
    let table = vec![
        model(&"m".repeat(100_000)).is("a name of 100,000 letters", unknown),
        model("m\0").is("NUL", unknown),
        model("m\r\nx-evil: 1").is("a header", unknown),
        model("m\u{1b}[31m").is("a colour for the log", unknown),
        model("m\u{202e}").is("a turned line", unknown),
        model("m\u{200b}").is("a character without width", unknown),
        listed("..").is("dots", unknown),
        listed("%2e%2e%2fmodels").is("encoded dots", unknown),
        listed("m%00").is("an encoded NUL", unknown),
        listed("m%0d%0ax-evil:%201").is("an encoded header", unknown),
        listed("/m").is("two slashes", unknown),
        listed("m;a=b").is("a parameter", unknown),
        listed("M").is("a capital", unknown),
        listed(&"m".repeat(50_000)).is("a name of 50,000 letters in the path", unknown),
        listed("%ff").is("no UTF-8", As(404, "not_found", "")),
        Plain::post("/v1/embeddings", "{\"model\":\"m\\u0000\",\"input\":\"a\"}")
            .is("NUL for embeddings", unknown),
        Plain::post(
            "/v1/completions",
            "{\"model\":\"m\\u0000\",\"prompt\":\"a\"}",
        )
        .is("NUL for completions", unknown),
        Plain::chat(body("").replace("\"m\"", "[\"m\"]"))
            .is("a list of models", As(400, "invalid_value", "model")),
        Plain::chat(body("").replace("\"m\"", "\"\""))
            .is("no name", As(400, "invalid_value", "model")),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn files_workspaces_and_sources_go_by_plain_numbers() {
    let door = Door::silent().await;
    let nothing = As(404, "not_found", "");
    let spellings = [
        "..",
        ".",
        "%2e%2e",
        "%2e%2e%2fworkspaces%2f42",
        "512%2f..%2f7",
        "512%2fdownload",
        "512%5c..%5c7",
        "512;x=1",
        "512%3fx=1",
        "512%23x",
        "512%00",
        "512%00.pdf",
        "+512",
        "0512",
        "-512",
        "-0",
        "512.0",
        "5.12e2",
        "0x200",
        "512%20",
        "%20512",
        "512%0d%0ax-evil:%201",
        "%EF%BC%95%EF%BC%91%EF%BC%92",
        "99999999999999999999",
        "9223372036854775808",
        "%ff",
        "%c0%af",
        "%zz",
        "__proto__",
        "null",
        "*",
        "512,7",
    ];
    let mut table = Vec::new();
    for id in spellings {
        for path in [
            format!("/v1/files/{id}"),
            format!("/v1/files/{id}/content"),
            format!("/v1/vector_stores/{id}"),
            format!("/sources/{id}"),
        ] {
            table.push(Plain::get(&path).is(id, nothing));
        }
        table.push(
            Plain::post(
                &format!("/v1/vector_stores/{id}/search"),
                "{\"query\":\"a\"}",
            )
            .is(id, nothing),
        );
        let delete = Plain {
            line: format!("DELETE /v1/files/{id} HTTP/1.1"),
            ..Plain::get("")
        };
        table.push(delete.is(id, nothing));
    }
    for path in [
        "/v1/files//512",
        "/v1/files/512/../7/content",
        "/v1/files/512//content",
        "/sources/512/..",
        "/v1/vector_stores/vs_vs_42",
        "/v1/files/file-file-512",
    ] {
        table.push(Plain::get(path).is("a path around it", nothing));
    }
    let long = "9".repeat(50_000);
    table.push(Plain::get(&format!("/v1/files/{long}")).is("50,000 digits", nothing));
    table.push(Plain::get(&format!("/sources/{long}")).is("50,000 digits of a source", nothing));
    door.refuses(table).await;
}

#[tokio::test]
async fn a_link_opens_by_its_own_signature_or_not_at_all() {
    let door = Door::silent().await;
    let refused = As(401, "invalid_api_key", "");
    let signature = "a".repeat(64);
    let link = |query: &str| Plain {
        key: String::new(),
        ..Plain::get(&format!("/sources/512?{query}"))
    };
    let table = vec![
        link("").is("none", refused),
        link(&format!("expires=99999999999&signature={signature}")).is("a wrong one", refused),
        link("expires=99999999999&signature=").is("an empty one", refused),
        link("expires=99999999999&signature=abc").is("half a byte", refused),
        link("expires=99999999999&signature=%F0%9F%A6%80").is("no digits", refused),
        link("expires=99999999999&signature=%ff").is("no UTF-8", refused),
        link(&format!(
            "expires=99999999999&signature={}",
            "a".repeat(40_000)
        ))
        .is("an endless one", refused),
        link(&format!(
            "expires=99999999999999999999999&signature={signature}"
        ))
        .is("a time beyond 64 bits", refused),
        link(&format!("expires=-1&signature={signature}")).is("a negative time", refused),
        link(&format!("expires=1e99&signature={signature}")).is("a time as a float", refused),
        link(&format!(
            "expires=1&expires=99999999999&signature={signature}"
        ))
        .is("two times", refused),
        link(&format!("expires[]=99999999999&signature[]={signature}")).is("lists", refused),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn lists_are_paged_by_numbers_in_their_bounds() {
    let door = Door::silent().await;
    let list = |query: &str| Plain::get(&format!("/v1/files?{query}"));
    let limit = As(400, "invalid_value", "limit");
    let table = vec![
        list("limit=1e9").is("an exponent", limit),
        list("limit=-1").is("negative", limit),
        list("limit=99999999999999999999999").is("beyond 64 bits", limit),
        list("limit=5&limit=999999999").is("two limits", limit),
        list("limit=%00").is("NUL", limit),
        list("order=asc;drop").is("an order that is none", As(400, "invalid_value", "order")),
        Plain::get("/v1/vector_stores?limit=101").is("beyond the longest page", limit),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn a_request_id_is_believed_where_it_is_short_and_plain() {
    let door = Door::answering().await;
    let with = |header: &str| Plain::chat(body("")).with(header).bytes();
    let told = async |header: &str| {
        let heard = door.hear(&with(header)).await;
        assert_eq!(heard.status, 200, "{}", heard.body);
        assert!(
            !heard.head.to_lowercase().contains("evil"),
            "{}",
            heard.head
        );
        heard.header("x-request-id").unwrap().to_owned()
    };

    assert_eq!(told("x-request-id: req-1.2_3:4\r\n").await, "req-1.2_3:4");
    for forged in [
        "x-request-id: a%0d%0ax-evil: 1\r\n".to_owned(),
        "x-request-id: <script>evil()</script>\r\n".to_owned(),
        "x-request-id: a\tevil\r\n".to_owned(),
        "x-request-id: ../evil\r\n".to_owned(),
        "x-request-id: \u{e9}vil\r\n".to_owned(),
        "x-request-id: \"evil\r\n".to_owned(),
        "x-request-id: \r\n".to_owned(),
        format!("x-request-id: evil{}\r\n", "a".repeat(125)),
        "x-request-id: evil-1\r\nx-request-id: evil-2\r\n".to_owned(),
    ] {
        let id = told(&forged).await;
        assert!(id.starts_with("req_") && id.len() == 36, "{forged}: {id}");
    }
    let log = door.program.log().borrow().clone();
    assert!(!log.contains("evil"), "{log}");
}
