//! One recorded conversation gives the same answer whole and streamed, however its stream is cut.

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::{
    edge::{Edge, SEARCH, Way, passage, question, weather},
    heard::Said,
    support::{
        lighton::{FakeLightOn, found},
        reply::Reply,
        server::Server,
    },
    turns::{call, chunk, ending, search, usage_chunk, whole},
};

/// One turn of the recording.
#[derive(Debug, Clone, Default)]
struct Recorded {
    reasoning: &'static str,
    content: &'static str,
    calls: Vec<Value>,
}

fn recording(ends_with_call: bool) -> Vec<Recorded> {
    let turn = |content, calls| Recorded {
        reasoning: "Hm, déjà vu… ",
        content,
        calls,
    };
    let last = if ends_with_call {
        vec![
            call("w1", "get_weather", "{ \"city\": \"Lyoné\" }"),
            search("c4", "four"),
            call("w2", "get_weather", "{}"),
        ]
    } else {
        Vec::new()
    };
    vec![
        turn(
            "Let me look <here>. ",
            vec![search("c1", "one \"quoted\" é"), search("c2", "two")],
        ),
        turn("", vec![search("c3", "three")]),
        turn(
            "Kept five years [1], then deleted [2][9]. 日本語 <tool",
            last,
        ),
    ]
}

impl Recorded {
    fn whole(&self) -> Reply {
        let calls = &self.calls;
        let mut message =
            json!({"role": "assistant", "reasoning": self.reasoning, "content": self.content});
        if !calls.is_empty() {
            message["tool_calls"] = json!(calls);
        }
        whole(
            message,
            if calls.is_empty() {
                "stop"
            } else {
                "tool_calls"
            },
        )
    }

    /// The turn as a stream, cut and interleaved by `random`: fragments of the calls among each other, and bytes into writes.
    fn streamed(&self, random: &mut fastrand::Rng) -> Reply {
        let mut events = vec![chunk(
            json!({"role": "assistant", "content": if random.bool() { Value::Null } else { json!("") }}),
        )];
        events.extend(
            cut(self.reasoning, random)
                .into_iter()
                .map(|piece| chunk(json!({"reasoning": piece}))),
        );
        events.extend(
            cut(self.content, random)
                .into_iter()
                .map(|piece| chunk(json!({"content": piece}))),
        );
        events.extend(self.fragments(random));
        if !self.calls.is_empty() && random.bool() {
            let last = events.len() - 1;
            events[last]["choices"][0]["finish_reason"] = json!("tool_calls");
        } else {
            events.push(ending(if self.calls.is_empty() {
                "stop"
            } else {
                "tool_calls"
            }));
        }
        events.push(usage_chunk());
        let text: String = events
            .iter()
            .map(|event| format!("data: {event}\n\n"))
            .collect();
        let bytes = (text + "data: [DONE]\n\n").into_bytes();
        let mut reply = Reply::stream("text/event-stream");
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.usize(1..=rest.len().min(400)));
            reply = reply.piece(piece);
            rest = after;
        }
        reply
    }

    fn fragments(&self, random: &mut fastrand::Rng) -> Vec<Value> {
        // Servers number by index, by id, or both; each of these is enough.
        let (by_index, by_id) = *random
            .choice(&[(true, true), (true, false), (false, true)])
            .unwrap();
        let mut waiting: Vec<std::collections::VecDeque<Value>> = Vec::new();
        for (at, call) in self.calls.iter().enumerate() {
            let mut fragments = std::collections::VecDeque::new();
            let arguments = call["function"]["arguments"].as_str().unwrap();
            for (nth, piece) in cut(arguments, random).into_iter().enumerate() {
                let mut fragment = json!({"function": {"arguments": piece}});
                if nth == 0 {
                    fragment["function"]["name"] = call["function"]["name"].clone();
                    fragment["type"] = json!("function");
                }
                if nth == 0 || by_id {
                    fragment["id"] = call["id"].clone();
                }
                if by_index {
                    fragment["index"] = json!(at);
                }
                fragments.push_back(fragment);
            }
            waiting.push(fragments);
        }
        let mut chunks = Vec::new();
        // Calls begin in their order; after that, whichever comes.
        let mut begun = 0;
        while waiting.iter().any(|fragments| !fragments.is_empty()) {
            let mut together = Vec::new();
            for _ in 0..random.usize(1..=3) {
                let at = random.usize(..=begun.min(waiting.len() - 1));
                if let Some(fragment) = waiting[at].pop_front() {
                    together.push(fragment);
                }
                if at == begun {
                    begun += 1;
                }
            }
            if !together.is_empty() {
                chunks.push(chunk(json!({"tool_calls": together})));
            }
        }
        chunks
    }
}

/// A text in pieces, between characters; at least one piece.
fn cut(text: &str, random: &mut fastrand::Rng) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for c in text.chars() {
        if random.u8(..) < 80 {
            pieces.push(String::new());
        }
        pieces.last_mut().unwrap().push(c);
    }
    pieces
}

/// The gateway and its neighbours, the same for all cases.
struct Stage {
    edge: Edge,
    model: Server,
    _lighton: FakeLightOn,
}

impl Stage {
    async fn set() -> Self {
        // The same for each search, because searches of one turn race.
        let results = [
            passage("a", "Kept for five years."),
            passage("b", "Then deleted."),
        ];
        let lighton = FakeLightOn::new().always(SEARCH, found(results));
        let model = Server::new();
        Self {
            edge: Edge::start(&lighton, &model).await,
            model,
            _lighton: lighton,
        }
    }

    async fn answer(&self, way: Way, turns: impl Iterator<Item = Reply>) -> Said {
        turns.for_each(|turn| self.model.push(turn));
        let body =
            question(json!({"tools": [weather()], "stream_options": {"include_usage": true}}));
        let heard = self.edge.hear(way, &body).await;
        heard.good();
        let mut said = heard.said;
        // Times differ, and the body of a stream alone tells them; links say when they end.
        said.rag.as_object_mut().unwrap().remove("timings");
        for annotation in said.annotations.as_array_mut().into_iter().flatten() {
            annotation["url_citation"]["url"] = Value::Null;
        }
        said
    }
}

#[test]
fn whole_and_streamed_say_the_same() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let stage = runtime.block_on(Stage::set());
    let config = ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let cases = (any::<u64>(), any::<bool>());

    let outcome = TestRunner::new(config).run(&cases, |(seed, ends_with_call)| {
        let turns = recording(ends_with_call);
        let mut random = fastrand::Rng::with_seed(seed);
        let streams: Vec<Reply> = turns
            .iter()
            .map(|turn| turn.streamed(&mut random))
            .collect();

        let whole = runtime.block_on(stage.answer(Way::Whole, turns.iter().map(Recorded::whole)));
        let streamed = runtime.block_on(stage.answer(Way::Streamed, streams.into_iter()));

        prop_assert_eq!(&whole, &streamed);
        prop_assert_eq!(whole.calls.len(), if ends_with_call { 2 } else { 0 });
        prop_assert_eq!(whole.annotations.as_array().unwrap().len(), 2);
        Ok(())
    });

    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    // Its sockets belong to the runtime.
    runtime.block_on(async { drop(stage) });
}
