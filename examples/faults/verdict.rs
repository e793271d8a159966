//! Whether an answer is one: what the contract allows, and nothing else.

use serde_json::Value;

use crate::{asked::Asked, provider};

/// What came of a request.
pub(crate) struct Heard {
    status: u16,
    content_type: String,
    pub(crate) body: Vec<u8>,
    /// Why it ended before its end.
    pub(crate) broken: Option<String>,
}

/// What it is worth.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// An answer, with how it ended.
    Answered(&'static str),
    /// An error of the contract: by its status, or in the closing event of a stream.
    Failed(String),
    /// The client left.
    Left,
    /// None of these, and why.
    Lost(String),
}

impl Heard {
    pub(crate) fn new(response: &reqwest::Response) -> Self {
        let content_type = response.headers().get("content-type");
        let content_type = content_type.and_then(|value| value.to_str().ok());
        Self {
            status: response.status().as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: Vec::new(),
            broken: None,
        }
    }

    pub(crate) fn nothing(error: &reqwest::Error) -> Self {
        Self {
            status: 0,
            content_type: String::new(),
            body: Vec::new(),
            broken: Some(format!("no answer: {error:?}")),
        }
    }
}

/// Judges what came of `asked`.
pub(crate) fn judge(asked: Asked, heard: Heard) -> Verdict {
    let verdict = match &heard.broken {
        Some(broken) => Err(format!("broken off: {broken}")),
        None if heard.status != 200 => refusal(&heard),
        None if heard.content_type.starts_with("text/event-stream") => stream(asked, &heard),
        None => whole(asked, &heard),
    };
    verdict.unwrap_or_else(|reason| {
        let body = String::from_utf8_lossy(&heard.body);
        let end = body.chars().rev().take(600).collect::<Vec<_>>();
        let end: String = end.into_iter().rev().collect();
        Verdict::Lost(format!("{reason}; {} {asked:?}: ...{end}", heard.status))
    })
}

fn refusal(heard: &Heard) -> Result<Verdict, String> {
    let body: Value = serde_json::from_slice(&heard.body)
        .map_err(|error| format!("an error that is no JSON ({error})"))?;
    let error = body.get("error").ok_or("an error without `error`")?;
    let code = code(error)?;
    Ok(Verdict::Failed(format!("{} {code}", heard.status)))
}

/// The code of an error that has all that OpenAI's have.
fn code(error: &Value) -> Result<&str, String> {
    let text = |key: &str| {
        let text = error.get(key).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
            .ok_or_else(|| format!("an error without `{key}`"))
    };
    text("message")?;
    if error.get("param").is_none() {
        return Err("an error without `param`".to_owned());
    }
    if text("type")? == "server_error" && text("code")? == "internal_error" {
        return Err("the gateway's own failure".to_owned());
    }
    text("code")
}

fn whole(asked: Asked, heard: &Heard) -> Result<Verdict, String> {
    let body: Value = serde_json::from_slice(&heard.body)
        .map_err(|error| format!("an answer that is no JSON ({error})"))?;
    if asked.streams {
        return Err("a whole answer to who asked for a stream".to_owned());
    }
    if asked.said(&body) != provider::text() {
        return Err("an answer with another text".to_owned());
    }
    Ok(Verdict::Answered("whole"))
}

fn stream(asked: Asked, heard: &Heard) -> Result<Verdict, String> {
    let body = std::str::from_utf8(&heard.body).map_err(|_| "a stream that is no text")?;
    if !body.ends_with("\n\n") {
        return Err("a stream that ends inside an event".to_owned());
    }
    let mut said = String::new();
    let (mut ending, mut failure) = (None, String::new());
    for data in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
        if ending.is_some_and(|ending| ending != "finish") {
            return Err("a stream that goes on behind its end".to_owned());
        }
        if data == "[DONE]" {
            ending = Some("[DONE]");
            continue;
        }
        let event: Value = match serde_json::from_str(data) {
            Ok(event) => event,
            // With retrieval off, whole events pass byte for byte.
            Err(_) if asked.mode == "off" => continue,
            Err(error) => return Err(format!("an event that is no JSON ({error})")),
        };
        said.push_str(asked.said(&event));
        let finish = &event["choices"][0]["finish_reason"];
        if let Some(error) = event.get("error") {
            if finish != "error" {
                return Err("an error that is no closing event".to_owned());
            }
            is_beginning(&said)?;
            failure = code(error)?.to_owned();
            ending = Some("error");
        } else if finish.is_string() {
            ending = Some("finish");
        }
    }
    match ending {
        Some("error") => Ok(Verdict::Failed(format!("closed with {failure}"))),
        Some("[DONE]") if said == provider::text() => Ok(Verdict::Answered("streamed, [DONE]")),
        // The upstream's bytes, its missing `[DONE]` included.
        Some("finish") if asked.mode == "off" && said == provider::text() => {
            Ok(Verdict::Answered("relayed, finish without [DONE]"))
        }
        Some(_) if said != provider::text() => Err("a stream with another text".to_owned()),
        Some(_) | None => Err("a stream without [DONE] or a closing error".to_owned()),
    }
}

/// A stream that failed says the beginning of the answer, and no word twice.
fn is_beginning(said: &str) -> Result<(), String> {
    match provider::text().starts_with(said) {
        true => Ok(()),
        false => Err("a failed stream with another text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    /// What is said of `body` as the answer to a chat request in mode `inject`.
    fn judged(streams: bool, status: u16, body: &str) -> Verdict {
        let mut asked = Asked::at_random(&mut Rng::with_seed(1));
        (asked.mode, asked.streams, asked.completes) = ("inject", streams, false);
        let content_type = match streams && status == 200 {
            true => "text/event-stream; charset=utf-8",
            false => "application/json",
        };
        let heard = Heard {
            status,
            content_type: content_type.to_owned(),
            body: body.as_bytes().to_vec(),
            broken: None,
        };
        judge(asked, heard)
    }

    fn words(text: &str) -> String {
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    }

    const FINISH: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const DONE: &str = "data: [DONE]\n\n";
    const ERROR: &str = r#"{"message":"m","type":"t","param":null,"code":"c"}"#;

    fn closing(error: &str) -> String {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"\"}},\"finish_reason\":\"error\"}}],\"error\":{error}}}\n\n"
        )
    }

    #[test]
    fn whole_streams_and_closing_errors_are_answers() {
        let all = words(&provider::text());
        let good = format!("{all}{FINISH}{DONE}");
        assert!(matches!(judged(true, 200, &good), Verdict::Answered(_)));
        let closed = format!(": heartbeat\n\n{}{}", words("w0 "), closing(ERROR));
        assert!(matches!(judged(true, 200, &closed), Verdict::Failed(_)));
        let refused = format!("{{\"error\":{ERROR}}}");
        assert!(matches!(judged(true, 502, &refused), Verdict::Failed(_)));
    }

    #[test]
    fn everything_else_is_lost() {
        let all = words(&provider::text());
        let (first, closed) = (words("w0 "), closing(ERROR));
        for body in [
            String::new(),
            all.clone(),
            format!("{all}{FINISH}"),
            format!("{first}{FINISH}{DONE}"),
            format!("{first}{all}{FINISH}{DONE}"),
            format!("{all}{FINISH}{DONE}{DONE}"),
            format!("{first}data: {{\"cho"),
            format!("{first}{first}{closed}"),
            format!("{first}{closed}{DONE}"),
            format!("{first}{closed}{closed}"),
            format!(
                "{first}{}",
                closing("{\"message\":\"m\",\"type\":\"t\",\"param\":null}")
            ),
            format!("data: {{\"error\":{ERROR}}}\n\n"),
        ] {
            let verdict = judged(true, 200, &body);
            assert!(matches!(verdict, Verdict::Lost(_)), "{verdict:?}: {body}");
        }
        for (status, body) in [
            (200, "{\"choices\":[{\"message\":{\"content\":\"w0 \"}}]}"),
            (200, "{"),
            (500, "Internal Server Error"),
            (
                502,
                "{\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null}}",
            ),
            (
                500,
                "{\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"param\":null,\"code\":\"internal_error\"}}",
            ),
        ] {
            let verdict = judged(false, status, body);
            assert!(matches!(verdict, Verdict::Lost(_)), "{verdict:?}: {body}");
        }
    }
}
