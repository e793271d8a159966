use super::*;

/// The id, name and arguments of a call.
type Told = (String, String, String);

fn gather(deltas: &[&str]) -> Vec<Told> {
    let mut gathered = Gathered::default();
    for delta in deltas {
        gathered.add(&json_of(delta));
    }
    gathered
        .finish()
        .into_iter()
        .map(|call| (call.id, call.name, call.arguments))
        .collect()
}

fn json_of(text: &str) -> Json {
    Json::parse(bytes::Bytes::from(text.to_owned())).unwrap()
}

fn call(id: &str, name: &str, arguments: &str) -> Told {
    (id.into(), name.into(), arguments.into())
}

#[test]
fn fragments_are_gathered_however_a_server_numbers_them() {
    let two = [call("a", "f", "{\"x\":1}"), call("b", "g", "{\"y\":2}")];
    let cases: [(&str, &[&str], &[Told]); 13] = [
        (
            "OpenAI",
            &[
                r#"[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]"#,
                r#"[{"index":0,"function":{"arguments":"{\"x\""}}]"#,
                r#"[{"index":0,"function":{"arguments":":1}"}}]"#,
                r#"[{"index":1,"id":"b","function":{"name":"g","arguments":"{\"y\":2}"}}]"#,
            ],
            &two,
        ),
        (
            "interleaved",
            &[
                r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}},{"index":1,"id":"b","function":{"name":"g","arguments":"{"}}]"#,
                r#"[{"index":1,"function":{"arguments":"\"y\":2}"}},{"index":0,"function":{"arguments":":1}"}}]"#,
            ],
            &two,
        ),
        (
            "index always 0",
            &[
                r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]"#,
                r#"[{"index":0,"id":"b","function":{"name":"g","arguments":"{\"y\":2}"}}]"#,
            ],
            &two,
        ),
        (
            "no index, later fragments without id",
            &[
                r#"[{"id":"a","function":{"name":"f","arguments":"{\"x\""}}]"#,
                r#"[{"function":{"arguments":":1}"}}]"#,
                r#"[{"id":"b","function":{"name":"g","arguments":"{\"y\":2}"}}]"#,
            ],
            &two,
        ),
        (
            "empty ids and names later on",
            &[
                r#"[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]"#,
                r#"[{"index":0,"id":"","function":{"name":"","arguments":"{\"x\":1}"}}]"#,
            ],
            &two[..1],
        ),
        (
            "another id in every fragment",
            &[
                r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]"#,
                r#"[{"index":0,"id":"zz","function":{"arguments":":1}"}}]"#,
            ],
            &two[..1],
        ),
        (
            "the name in every fragment",
            &[
                r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]"#,
                r#"[{"index":0,"id":"a","function":{"name":"f","arguments":":1}"}}]"#,
            ],
            &two[..1],
        ),
        (
            "another id and the name in every fragment",
            &[
                r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]"#,
                r#"[{"index":0,"id":"zz","function":{"name":"f","arguments":":1}"}}]"#,
            ],
            &two[..1],
        ),
        (
            "an id minted twice",
            &[
                r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]"#,
                r#"[{"index":1,"id":"a","function":{"name":"g","arguments":"{\"y\""}}]"#,
                r#"[{"index":1,"function":{"arguments":":2}"}}]"#,
            ],
            &[two[0].clone(), call("a", "g", "{\"y\":2}")],
        ),
        (
            "an index used again, without ids",
            &[
                r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]"#,
                r#"[{"index":0,"id":"b","function":{"name":"g","arguments":""}},{"index":0,"function":{"arguments":"{\"y\":2}"}}]"#,
            ],
            &two,
        ),
        (
            "numbers where text belongs, text where numbers do",
            &[r#"[{"index":"7","id":5,"type":null,"function":{"name":"f","arguments":"{}"}}]"#],
            &[call("5", "f", "{}")],
        ),
        (
            "arguments as an object",
            &[r#"[{"id":"a","function":{"name":"f","arguments":{"x":1}}}]"#],
            &two[..1],
        ),
        (
            "the id inside the function, null arguments, the name later",
            &[
                r#"[{"index":3,"function":{"id":"a","arguments":null}}]"#,
                r#"[{"index":3,"function":{"name":"f","arguments":"{\"x\":1}"}}]"#,
            ],
            &two[..1],
        ),
    ];
    for (server, deltas, expected) in cases {
        assert_eq!(gather(deltas), expected, "{server}");
    }
}

#[test]
fn json_that_only_looks_complete_is_not_taken_for_the_end() {
    let deltas = [
        r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]"#,
        r#"[{"index":0,"function":{"arguments":" "}}]"#,
    ];
    assert_eq!(gather(&deltas), [call("a", "f", "{\"x\":1} ")]);
}

#[test]
fn calls_without_id_or_arguments_get_them() {
    let gathered = gather(&[r#"[{"index":0,"id":null,"function":{"name":"f","arguments":""}}]"#]);
    let [(id, name, arguments)] = gathered.as_slice() else {
        panic!("one call")
    };
    assert_eq!(
        (id.len(), name.as_str(), arguments.as_str()),
        (9, "f", "{}")
    );
    assert!(id.chars().all(|c| c.is_ascii_alphanumeric()));
}

#[test]
fn a_thousand_calls_are_bounded() {
    let many: Vec<Value> = (0..1000).map(|i| json!({"index": i, "id": format!("c{i}"), "function": {"name": "f", "arguments": "{}"}})).collect();
    assert_eq!(
        gather(&[&Value::Array(many).to_string()]).len(),
        CALLS_LIMIT
    );
}

#[test]
fn what_is_gathered_no_more_does_not_run_into_the_last_call() {
    let mut deltas: Vec<String> = (0..=CALLS_LIMIT)
        .map(|i| format!(r#"[{{"id":"c{i}","function":{{"name":"f","arguments":"{{}}"}}}}]"#))
        .collect();
    deltas.push(r#"[{"function":{"arguments":"more"}}]"#.to_owned());
    let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
    let gathered = gather(&deltas);
    assert_eq!(gathered.len(), CALLS_LIMIT);
    assert!(gathered.iter().all(|(_, _, arguments)| arguments == "{}"));
}

#[test]
fn a_call_keeps_what_else_stands_beside_it_and_its_kind() {
    for text in [
        r#"{"id":"a","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"s"}}}"#,
        r#"{"id":"a","type":"custom","custom":{"name":"f","input":"any words"}}"#,
    ] {
        let mut gathered = Gathered::default();
        gathered.add(&json_of(&format!("[{text}]")));
        let calls = gathered.finish();
        assert_eq!(calls[0].to_value().to_string(), text);
        assert!(calls[0].is_whole());
    }
}

#[test]
fn an_older_function_call_is_a_call() {
    let mut gathered = Gathered::default();
    gathered.add_older(&json_of(r#"{"name":"f","arguments":"{\"x\""}"#));
    gathered.add_older(&json_of(r#"{"arguments":":1}"}"#));
    let calls = gathered.finish();
    assert_eq!(
        (calls[0].name.as_str(), calls[0].arguments.as_str()),
        ("f", "{\"x\":1}")
    );
}

#[test]
fn a_call_without_the_end_of_its_arguments_is_not_whole() {
    for (arguments, whole) in [
        ("{}", true),
        ("", false),
        ("{\"a\":", false),
        ("{\"a\":1}", true),
    ] {
        let mut gathered = Gathered::default();
        let fragment = json!([{"id": "a", "function": {"name": "f", "arguments": arguments}}]);
        gathered.add(&Json::of(&fragment));
        assert_eq!(gathered.finish()[0].is_whole(), whole, "{arguments}");
    }
}
