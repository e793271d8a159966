//! Bodies: JSON that two readers take in two ways, or that ends one of them.

use super::{
    Door, Plain,
    Refused::{self, As},
    body,
};

fn chat(more: &str) -> Plain {
    Plain::chat(body(more))
}

fn json(text: impl Into<Vec<u8>>) -> Plain {
    Plain::chat(text)
}

const NOT_JSON: Refused = As(400, "invalid_json", "");

fn bad(param: &'static str) -> Refused {
    As(400, "invalid_value", param)
}

#[tokio::test]
async fn a_key_that_stands_twice_is_refused_wherever_it_is_read() {
    let door = Door::silent().await;
    let message = |fields: &str| json(format!("{{\"model\":\"m\",\"messages\":[{{{fields}}}]}}"));
    let store = |text: &str| Plain::post("/v1/vector_stores/42/search", text);
    let table = vec![
        chat(r#""model":"n""#).is("model", bad("model")),
        chat(r#""\u006dodel":"n""#).is("model, written otherwise", bad("model")),
        chat(r#""messages":[]"#).is("messages", bad("messages")),
        chat(r#""rag":{"workspace_id":42},"rag":{"workspace_id":7}"#).is("rag", bad("rag")),
        chat(r#""rag":{"workspace_id":42,"workspace_id":7}"#)
            .is("a workspace", bad("rag.workspace_id")),
        chat(r#""rag":{"workspace_id":42,"workspace\u005fid":7}"#)
            .is("a workspace, written otherwise", bad("rag.workspace_id")),
        chat(r#""rag":{"mode":"tool","mode":"off"}"#).is("a mode", bad("rag.mode")),
        chat(r#""x":1,"x":2"#).is("a field nobody knows", bad("x")),
        message(r#""role":"user","role":"system","content":"a""#)
            .is("a role", bad("messages[0].role")),
        message(r#""role":"user","content":"a","content":"b""#)
            .is("a content", bad("messages[0].content")),
        message(r#""role":"user","content":[{"type":"text","text":"a","text":"b"}]"#)
            .is("a text", bad("messages[0].content[0].text")),
        message(r#""role":"tool","tool_call_id":"a","tool_call_id":"b","content":"c""#)
            .is("a call's id", bad("messages[0].tool_call_id")),
        message(r#""role":"assistant","tool_calls":[],"tool_calls":[]"#)
            .is("calls", bad("messages[0].tool_calls")),
        store(r#"{"query":"a","query":"b"}"#).is("a query", bad("query")),
        store(r#"{"query":"a","filters":{"type":"eq","key":"tag_id","key":"file_id","value":1}}"#)
            .is("a filter", bad("filters")),
        Plain::post("/v1/embeddings", r#"{"model":"m","input":"a","input":"b"}"#)
            .is("an input", bad("input")),
        Plain::post(
            "/v1/completions",
            r#"{"model":"m","prompt":"a","prompt":"b"}"#,
        )
        .is("a prompt", bad("prompt")),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn numbers_are_taken_as_they_are_written_or_refused() {
    let door = Door::silent().await;
    let workspace = bad("rag.workspace_id");
    let rag = |text: &str| chat(&format!("\"rag\":{{{text}}}"));
    let store = |text: &str| {
        Plain::post(
            "/v1/vector_stores/42/search",
            format!("{{\"query\":\"a\",{text}}}"),
        )
    };
    let file = |value: &str| {
        store(&format!(
            r#""filters":{{"type":"eq","key":"file_id","value":{value}}}"#
        ))
    };
    let table = vec![
        rag("\"workspace_id\":1e400").is("beyond every float", workspace),
        rag("\"workspace_id\":123456789012345678901234567890").is("30 digits", workspace),
        rag("\"workspace_id\":18446744073709551658").is("42 beyond 64 bits", workspace),
        rag("\"workspace_id\":9223372036854775808").is("one beyond 63 bits", workspace),
        rag("\"workspace_id\":-0").is("a negative zero", workspace),
        rag("\"workspace_id\":42.0").is("a float", workspace),
        rag("\"workspace_id\":4.2e1").is("an exponent", workspace),
        rag("\"workspace_id\":\"42\"").is("a text", workspace),
        rag("\"workspace_id\":[42,[42]]").is("a list in a list", workspace),
        rag("\"workspace_id\":[]").is("no workspace", workspace),
        rag("\"workspace_id\":true").is("true", workspace),
        rag("\"workspace_id\":042").is("a zero before", NOT_JSON),
        rag("\"workspace_id\":+42").is("a plus", NOT_JSON),
        rag("\"workspace_id\":0x2a").is("hexadecimal", NOT_JSON),
        rag("\"workspace_id\":NaN").is("no number", NOT_JSON),
        rag("\"max_results\":1e400").is("results beyond every float", bad("rag.max_results")),
        rag("\"max_results\":65541").is("5 beyond 16 bits", bad("rag.max_results")),
        rag("\"max_results\":-1").is("negative results", bad("rag.max_results")),
        rag("\"min_relevance\":1e400").is("relevance beyond every float", bad("rag.min_relevance")),
        rag("\"min_relevance\":-0.1").is("negative relevance", bad("rag.min_relevance")),
        rag("\"file_id\":512.5").is("half a file", bad("rag.file_id")),
        rag("\"tag_id\":1e400").is("a tag beyond every float", bad("rag.tag_id")),
        chat("\"n\":1e400").is("answers beyond every float", bad("n")),
        chat("\"n\":-0").is("negative zero answers", bad("n")),
        chat("\"n\":1.0").is("a float of answers", bad("n")),
        chat("\"max_tokens\":1e400").is("tokens beyond every float", bad("max_tokens")),
        chat("\"max_completion_tokens\":-1e999")
            .is("the same by its newer name", bad("max_completion_tokens")),
        chat("\"max_tokens\":Infinity").is("infinity", NOT_JSON),
        chat("\"stream\":1").is("a number for true", bad("stream")),
        store("\"max_num_results\":1e400").is(
            "results of a store beyond every float",
            bad("max_num_results"),
        ),
        store("\"max_num_results\":5.0").is("a float of results", bad("max_num_results")),
        file("1e400").is("a file beyond every float", bad("filters")),
        file("123456789012345678901234567890").is("a file of 30 digits", bad("filters")),
        file("-0").is("a file of negative zero", bad("filters")),
        file("512.0").is("a file as a float", bad("filters")),
        file("\"+512\"").is("a file with a sign", bad("filters")),
        file("\"0512\"").is("a file with a zero", bad("filters")),
        file("\"512/../7\"").is("a file with a path", bad("filters")),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn text_that_is_no_text_is_refused() {
    let door = Door::silent().await;
    let content = |bytes: &[u8]| {
        let mut text = br#"{"model":"m","messages":[{"role":"user","content":""#.to_vec();
        text.extend_from_slice(bytes);
        text.extend_from_slice(b"\"}]}");
        json(text)
    };
    let table = vec![
        content(b"\xff").is("a byte that no text holds", NOT_JSON),
        content(b"\xc0\x80").is("NUL in two bytes", NOT_JSON),
        content(b"\xed\xa0\x80").is("half a pair in bytes", NOT_JSON),
        content(b"\xf4\x90\x80\x80").is("beyond the last character", NOT_JSON),
        content(b"\xc3").is("half a character", NOT_JSON),
        content(b"a\0b").is("NUL as it is", NOT_JSON),
        content(b"a\nb").is("a line's end as it is", NOT_JSON),
        content(br"\ud800").is("half a pair", NOT_JSON),
        content(br"\udc00\ud800").is("a pair the wrong way round", NOT_JSON),
        content(br"\ud83d\\udd80").is("half a pair before a backslash", NOT_JSON),
        content(br"\x41").is("an escape that is none", NOT_JSON),
        chat(r#""metadata":{"a":"\udfff"}"#).is("half a pair where nobody reads", NOT_JSON),
        chat(r#""\ud800":1"#).is("half a pair in a key", NOT_JSON),
        json(b"{\"model\":\"m\",\"x\":\"\xff\",\"messages\":[]}".as_slice())
            .is("such a byte where nobody reads", NOT_JSON),
        json([b"\xef\xbb\xbf".as_slice(), body("").as_bytes()].concat())
            .is("a mark of the byte order", NOT_JSON),
        json(
            body("")
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<u8>>(),
        )
        .is("UTF-16", NOT_JSON),
        chat(r#""rag":{"query":"\u0000"}"#).is("a query of NUL", bad("rag.query")),
        Plain::post("/v1/vector_stores/42/search", r#"{"query":"\u0000"}"#)
            .is("the same in a store", bad("query")),
        Plain {
            kind: "content-type: text/plain\r\n".to_owned(),
            ..chat("")
        }
        .is(
            "a body that says it is text",
            As(415, "unsupported_media_type", ""),
        ),
        Plain {
            kind: "content-type: application/json\r\ncontent-type: text/plain\r\n".to_owned(),
            ..chat("")
        }
        .is(
            "a body that says two things",
            As(415, "unsupported_media_type", ""),
        ),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn one_object_and_nothing_else() {
    let door = Door::silent().await;
    let message = |message: &str| json(format!("{{\"model\":\"m\",\"messages\":[{message}]}}"));
    let table = vec![
        json("").is("nothing", NOT_JSON),
        json("[]").is("a list", NOT_JSON),
        json("\"{}\"").is("a text", NOT_JSON),
        json(format!("{} {{}}", body(""))).is("two objects", NOT_JSON),
        json(format!("{}\0", body(""))).is("NUL behind it", NOT_JSON),
        json(format!("[{}]", body(""))).is("an object in a list", NOT_JSON),
        json("{\"model\":\"m\",/* */\"messages\":[]}").is("a comment", NOT_JSON),
        json("{\"model\":\"m\",\"messages\":[],}").is("a comma too many", NOT_JSON),
        json("{'model':'m'}").is("other quotes", NOT_JSON),
        chat("\"rag\":[]").is("rag as a list", bad("rag")),
        chat("\"rag\":\"{}\"").is("rag as a text", bad("rag")),
        chat("\"rag\":{\"__proto__\":{\"workspace_id\":7}}")
            .is("a prototype", bad("rag.__proto__")),
        chat("\"rag\":{\"constructor\":{\"prototype\":{}}}")
            .is("a constructor", bad("rag.constructor")),
        chat("\"rag\":{\"Workspace_ID\":7}").is("another case", bad("rag.Workspace_ID")),
        chat("\"rag\":{\"search_api_key\":\"lo\"}")
            .is("a key for search", bad("rag.search_api_key")),
        chat("\"rag\":{\"base_url\":\"http://evil.example\"}")
            .is("an address", bad("rag.base_url")),
        Plain::post(
            "/v1/vector_stores/42/search",
            "{\"query\":\"a\",\"__proto__\":{}}",
        )
        .is("a prototype of a search", bad("__proto__")),
        Plain::post(
            "/v1/vector_stores/42/search",
            "{\"query\":\"a\",\"workspace_id\":7}",
        )
        .is("another workspace of a search", bad("workspace_id")),
        message("[\"user\",\"a\"]").is("a message as a list", bad("messages[0]")),
        message("\"user\"").is("a message as a text", bad("messages[0]")),
        message("{\"role\":7,\"content\":\"a\"}").is("a role that is a number", bad("messages[0]")),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn what_is_nested_without_end_is_refused() {
    let door = Door::silent().await;
    let nest =
        |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let lists = nest("[", "]");
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let filters = format!(
        "{}{}",
        "{\"type\":\"and\",\"filters\":[".repeat(5000),
        "]}".repeat(5000)
    );
    let table = vec![
        json(lists.as_str()).is("lists alone", NOT_JSON),
        json(objects.as_str()).is("objects alone", NOT_JSON),
        chat(&format!("\"x\":{lists}")).is("lists where nobody reads", NOT_JSON),
        chat(&format!("\"x\":{objects}")).is("objects where nobody reads", NOT_JSON),
        chat(&format!("\"tools\":{lists}")).is("tools", NOT_JSON),
        chat(&format!("\"rag\":{{\"workspace_id\":{lists}}}")).is("workspaces", NOT_JSON),
        json(format!(
            "{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":{lists}}}]}}"
        ))
        .is("a content", NOT_JSON),
        Plain::post(
            "/v1/vector_stores/42/search",
            format!("{{\"query\":\"a\",\"filters\":{filters}}}"),
        )
        .is("filters", NOT_JSON),
        Plain::post(
            "/v1/embeddings",
            format!("{{\"model\":\"m\",\"input\":{lists}}}"),
        )
        .is("an input", NOT_JSON),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn what_nobody_here_reads_goes_on_as_it_was_written() {
    // The wire is sacred: what an unknown field means is the upstream's business, and it decides nothing here.
    let door = Door::answering().await;
    let more = r#""__proto__":{"rag":{"workspace_id":7}},"seed":123456789012345678901234567890,"temperature":1.10e+2,"Rag":{"workspace_id":7}"#;
    let request = Plain::chat(body(more)).with("x-rag-mode: off\r\n");

    let heard = door.hear(&request.bytes()).await;

    assert_eq!(heard.status, 200, "{}", heard.body);
    let sent = door.model.request();
    assert_eq!(String::from_utf8_lossy(&sent.body), body(more));
}

#[tokio::test]
async fn nul_in_a_question_is_searched_for_as_a_blank() {
    let door = Door::answering().await;
    let text = body("").replace("How long?", "How\\u0000long?");

    let heard = door.hear(&Plain::chat(text).bytes()).await;

    assert_eq!(heard.status, 200, "{}", heard.body);
    assert_eq!(door.lighton.request().json()["query"], "How long?");
}
