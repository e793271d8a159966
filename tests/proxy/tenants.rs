//! Tenants who ask the same at the same moment: each gets its own passages and nobody else's, from searches in flight and from the cache.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    key, passage, question,
    support::{
        answer::{Answer, Live},
        gateway::{Gateway, SEARCH_KEY},
        lighton::found,
        reply::{Gate, Reply, sse},
        server::{Request, Server},
        upstream::{chunk, chunk_of, completion, finish},
    },
};

/// Each tenant, its settings, and the search whose passages are its own.
const TENANTS: [(&str, &str, &str); 5] = [
    ("acme", "workspace_id = [42]", "[42] lo-secret-7f1c"),
    // The same in all but the name: it may share acme's search.
    ("acme2", "workspace_id = [42]", "[42] lo-secret-7f1c"),
    ("beta", "workspace_id = [43]", "[43] lo-secret-7f1c"),
    ("both", "workspace_id = [42, 43]", "[42,43] lo-secret-7f1c"),
    (
        "own",
        "workspace_id = [42]\nsearch_api_key = \"lo-secret-own\"",
        "[42] lo-secret-own",
    ),
];

/// What a search is known by: its workspaces and its key.
fn known_by(request: &Request) -> String {
    let authorization = request.header("authorization").unwrap();
    let key = authorization.strip_prefix("Bearer ").unwrap();
    format!("{} {key}", request.json()["workspace_id"])
}

/// A word that stands in the passages of one search alone.
fn word(search: &str) -> String {
    // Not the key itself: no answer may hold one.
    let place = TENANTS.iter().position(|(.., own)| *own == search);
    format!("passage-{}", place.unwrap())
}

/// A search that finds what only it can find, once the gate is open; a passage from elsewhere comes along.
fn finds(request: &Request, gate: &Gate) -> Reply {
    let search = known_by(request);
    let workspaces = request.json()["workspace_id"].clone();
    let of = |id: &str, workspace: Value| {
        let mut passage = passage(id, &format!("{} says it.", word(&search)));
        passage["workspace"]["id"] = workspace;
        passage
    };
    let mut elsewhere = passage("elsewhere", "Nobody asked for this.");
    elsewhere["workspace"]["id"] = json!(7);
    found([elsewhere, of("a", workspaces[0].clone())]).head_after(gate)
}

/// A model that searches first, where it can, and is told to by the same words for all.
fn answers(request: &Request) -> Reply {
    let body = request.json();
    let told = body["messages"].as_array().unwrap();
    let searches = body["tools"].is_array() && told.iter().all(|message| message["role"] != "tool");
    let arguments = json!({"query": "retention"}).to_string();
    let call = json!({"index": 0, "id": "c1", "type": "function", "function": {"name": "lighton_search", "arguments": arguments}});
    match (searches, body["stream"] == true) {
        (false, false) => Reply::json(completion("So it is [1].")),
        (false, true) => sse([chunk("So it is [1]."), finish("stop")]),
        (true, false) => {
            let mut turn = completion("");
            turn["choices"][0]["message"] =
                json!({"role": "assistant", "content": null, "tool_calls": [call]});
            turn["choices"][0]["finish_reason"] = json!("tool_calls");
            Reply::json(turn)
        }
        (true, true) => {
            let delta = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            let calls = chunk_of(json!({"index": 0, "delta": delta, "finish_reason": null}));
            sse([calls, finish("tool_calls")])
        }
    }
}

/// All that one tenant's answer holds, as text.
async fn ask(gateway: &Gateway, name: &str, mode: &str, stream: bool) -> String {
    let body = question(json!({"user": name, "stream": stream, "rag": {"mode": mode}}));
    let request = gateway.chat(&body).bearer_auth(name);
    if stream {
        Live::of(request).await.rest().await.text().to_owned()
    } else {
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().to_owned()
    }
}

#[tokio::test]
async fn each_tenant_gets_its_own_passages_from_flights_and_from_the_cache() {
    assert!(TENANTS[0].2.ends_with(SEARCH_KEY));
    let keys: String = TENANTS
        .iter()
        .map(|(name, settings, _)| key(name, settings))
        .collect();
    let settings = format!("search.cache_ttl = \"60s\"\n{keys}");
    for (mode, stream) in [
        ("inject", false),
        ("inject", true),
        ("tool", false),
        ("tool", true),
    ] {
        let gate = Gate::new();
        let (searches, searched) = watch::channel(Vec::new());
        let held = gate.clone();
        let lighton = Server::improvising(move |request| {
            searches.send_modify(|searches: &mut Vec<String>| searches.push(known_by(request)));
            finds(request, &held)
        });
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let model = Server::improvising(move |request| {
            heard.lock().unwrap().push(request.json());
            answers(request)
        });
        let gateway = Gateway::start(&lighton, &model, &settings).await;

        // Two clients of each tenant at once; nothing is found before every search that there can be has come.
        let everybody = || {
            let twice = TENANTS.iter().chain(&TENANTS);
            join_all(twice.map(|(name, ..)| ask(&gateway, name, mode, stream)))
        };
        let opening = async {
            let all = |searches: &Vec<String>| searches.len() >= 4;
            searched.clone().wait_for(all).await.unwrap();
            gate.open();
        };
        let (flown, ()) = tokio::join!(everybody(), opening);
        let kept = everybody().await;

        let way = format!("{mode}, stream: {stream}");
        let once: BTreeSet<&str> = TENANTS.iter().map(|(.., own)| *own).collect();
        let made = searched.borrow().clone();
        let distinct: BTreeSet<&str> = made.iter().map(String::as_str).collect();
        assert_eq!(
            (made.len(), distinct),
            (4, once),
            "{way}: each search is made once"
        );
        let names = TENANTS.iter().cycle();
        for ((name, _, own), text) in names.clone().zip(flown.iter().chain(&kept)) {
            holds_its_own(&format!("{way}: the answer to {name}"), text, own);
        }
        assert!(
            kept.iter().all(|text| text.contains("\"cached\":1")),
            "{way}"
        );
        let told = told.lock().unwrap();
        for (name, _, own) in TENANTS {
            let prompts = told.iter().filter(|body| body["user"] == name);
            // The first turn of mode `tool` is told no passage yet.
            let prompts = prompts.filter(|body| body.to_string().contains("passage-"));
            let prompts: Vec<String> = prompts.map(Value::to_string).collect();
            assert_eq!(prompts.len(), 4, "{way}: {name} asked four times");
            for prompt in prompts {
                holds_its_own(&format!("{way}: the prompt of {name}"), &prompt, own);
            }
        }
    }
}

fn holds_its_own(what: &str, text: &str, own: &str) {
    assert!(text.contains(&word(own)), "{what}: {text}");
    assert!(!text.contains("Nobody asked"), "{what}: {text}");
    for (.., other) in TENANTS.iter().filter(|(.., other)| *other != own) {
        assert!(
            !text.contains(&word(other)),
            "{what} holds what {other} found: {text}"
        );
    }
}
