use proptest::prelude::*;

use super::*;
use crate::{rag::frame::tests::event, sse::Decoder};

/// A voice whose client hears another identity than that of the turn, where it is `renamed`.
fn voice(renamed: bool, include_usage: bool) -> Voice {
    let progress = Arc::new(Progress::default());
    if renamed {
        let identity = Identity {
            id: "first".into(),
            created: 7,
            model: "m".into(),
        };
        progress.identity.set(identity).unwrap();
    }
    Voice::new(progress, "m", include_usage)
}

/// What goes out for each of `events`, and what the turn came to.
fn heard(voice: &mut Voice, events: &[Event], is_parsed: bool) -> Vec<String> {
    let mut out = Vec::new();
    for event in events {
        if is_parsed {
            voice.turn.form = Form::default();
        }
        match voice.event(event.clone()) {
            Ok(pieces) => {
                let pieces = pieces.iter().map(|piece| String::from_utf8_lossy(piece));
                out.push(pieces.collect::<Vec<_>>().join("|"));
            }
            Err(error) => {
                out.push(format!("{error:?}"));
                return out;
            }
        }
    }
    let said = (&voice.text, voice.spoke, voice.role_told);
    out.push(format!("{said:?}"));
    out.push(match voice.finish_turn() {
        Ok((turn, rest)) => format!("{:?} {:?} {rest:?}", turn.content, turn.finish),
        Err(error) => format!("{error:?}"),
    });
    out
}

fn events(text: &str) -> Vec<Event> {
    let mut decoder = Decoder::new(1 << 20);
    decoder.push(text.to_owned().into());
    std::iter::from_fn(|| decoder.next())
        .map(Result::unwrap)
        .collect()
}

fn chunk(text: &str) -> String {
    format!(
        r#"{{"id":"a","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}],"obfuscation":"{}"}}"#,
        "x".repeat(text.len())
    )
}

#[test]
fn chunks_of_a_later_turn_are_put_into_the_form_of_its_first() {
    let mut voice = voice(true, false);
    let text =
        [r"one", r" t\u0077o", r" \n3", " <four"].map(|text| format!("data: {}\n\n", chunk(text)));
    let pieces = heard(&mut voice, &events(&text.concat()), false);

    let expected = ["one", " two", r" \n3", " <four"];
    let padding = ["one", r" t\u0077o", r" \n3", " <four"];
    // The first tells the role besides.
    for (at, piece) in pieces.iter().take(4).enumerate().skip(1) {
        let chunk =
            chunk(expected[at]).replace(r#""id":"a","created":1"#, r#""id":"first","created":7"#);
        let (chunk, _) = chunk.split_once(",\"obfuscation\"").unwrap();
        let chunk = chunk.replace("}}]", r#"},"finish_reason":null}]"#);
        let padding = "x".repeat(padding[at].len());
        assert_eq!(
            piece,
            &format!("data: {chunk},\"obfuscation\":\"{padding}\"}}\n\n")
        );
    }
    assert!(voice.turn.form.added(chunk(" five").as_bytes()).is_some());
}

proptest! {
    #[test]
    fn chunks_that_are_compared_are_heard_as_those_that_are_parsed(
        events in prop::collection::vec(event(), 1..40),
        renamed in any::<bool>(),
        include_usage in any::<bool>(),
    ) {
        // Without an upstream's identity the gateway makes up one, which is never the same.
        let first = "data: {\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n".to_owned();
        let events = self::events(&(first + &events.concat()));

        let compared = heard(&mut voice(renamed, include_usage), &events, false);
        let parsed = heard(&mut voice(renamed, include_usage), &events, true);

        prop_assert_eq!(compared, parsed);
    }
}
