//! `groundwire ask`: asks a running gateway; the answer streams to stdout, the numbered sources follow it.

use std::io::Read;

use anstyle::{AnsiColor, Style};
use futures_util::StreamExt;
use reqwest::Response;
use serde_json::{Map, Value, json};

use super::{
    Failure,
    arguments::{Ask, Where},
    gateway::Gateway,
    label, models,
    reply::{self, Reply},
    terminal::{self, DIM},
    warn,
};
use crate::{
    config::Environment,
    sse::{Events, Payload},
};

/// The longest event that is read, in bytes: the first one brings the text of up to a hundred passages.
const EVENT_LIMIT: usize = 64 << 20;

/// The number of a source.
const NUMBER: Style = Style::new()
    .fg_color(Some(anstyle::Color::Ansi(AnsiColor::Cyan)))
    .bold();

/// Asks, and shows the answer as it comes.
pub(super) async fn run(args: Ask, env: &Environment) -> Result<(), Failure> {
    let question = question(args.question)?;
    let gateway = Gateway::new(args.reach, env)?;
    let model = match args.model {
        Some(model) => model,
        None => {
            let first = models::first_chat_model(&gateway).await?;
            terminal::murmur(&format!("asking {}\n", terminal::tame(&first)));
            first
        }
    };
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    body.insert(
        "messages".to_owned(),
        json!([{"role": "user", "content": question}]),
    );
    if let Some(rag) = rag(args.mode, args.place) {
        body.insert("rag".to_owned(), rag);
    }
    if args.json {
        return whole(&gateway, &model, &Value::Object(body)).await;
    }
    body.insert("stream".to_owned(), json!(true));
    streamed(&gateway, &Value::Object(body)).await
}

fn question(given: String) -> Result<String, Failure> {
    let question = if given == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Failure::running("the question cannot be read", error))?;
        text
    } else {
        given
    };
    if question.trim().is_empty() {
        return Err(Failure::Usage("the question is empty".to_owned()));
    }
    Ok(question.trim().to_owned())
}

/// What the request says of its grounding; nothing where nothing was asked for, since the operator may allow nothing.
fn rag(mode: Option<String>, place: Where) -> Option<Value> {
    let mut rag = Map::new();
    if let Some(mode) = mode {
        rag.insert("mode".to_owned(), json!(mode));
    }
    if !place.workspaces.is_empty() {
        rag.insert("workspace_id".to_owned(), json!(place.workspaces));
    }
    if let Some(max_results) = place.max_results {
        rag.insert("max_results".to_owned(), json!(max_results));
    }
    (!rag.is_empty()).then_some(Value::Object(rag))
}

async fn whole(gateway: &Gateway, model: &str, body: &Value) -> Result<(), Failure> {
    let response = gateway.chat(body).await?;
    let answer = response
        .bytes()
        .await
        .map_err(|error| gateway.broken(&error))?;
    let answer: Value = serde_json::from_slice(&answer).map_err(|_| gateway.stranger())?;
    let mut reply = Reply::default();
    let text = reply.read(&answer).map_err(Failure::Running)?;
    let mut told = Map::new();
    told.insert("model".to_owned(), json!(model));
    told.insert("answer".to_owned(), json!(text.content));
    told.insert("sources".to_owned(), reply.linked_sources().into());
    if let Some(usage) = reply.usage {
        told.insert("usage".to_owned(), usage);
    }
    told.insert("warnings".to_owned(), json!(reply.warnings));
    terminal::json(&Value::Object(told))
}

async fn streamed(gateway: &Gateway, body: &Value) -> Result<(), Failure> {
    let response = gateway.chat(body).await?;
    let mut page = Page::default();
    let outcome = read(gateway, response, &mut page).await;
    page.end_line()?;
    outcome?;
    page.finish()
}

/// Shows each piece of the answer when it arrives.
async fn read(gateway: &Gateway, response: Response, page: &mut Page) -> Result<(), Failure> {
    let mut events = Events::new(response.bytes_stream().boxed(), EVENT_LIMIT);
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| gateway.broken(&error))?;
        match event.payload() {
            Payload::Data(data) => {
                let chunk = serde_json::from_slice(data).map_err(|_| gateway.stranger())?;
                page.show(&chunk)?;
            }
            Payload::Done => return Ok(()),
            Payload::Comment | Payload::Empty => {}
            Payload::Stray(_) => return Err(gateway.stranger()),
        }
    }
    match page.reply.finish {
        Some(_) => Ok(()),
        None => Err(Failure::Running("the answer broke off".to_owned())),
    }
}

/// What is on the screen.
#[derive(Debug, Default)]
struct Page {
    reply: Reply,
    /// Whether thinking stands on the last line of stderr.
    thinking: bool,
    /// The last character of the answer so far.
    last: Option<char>,
}

impl Page {
    fn show(&mut self, chunk: &Value) -> Result<(), Failure> {
        let piece = self.reply.read(chunk).map_err(Failure::Running)?;
        let (reasoning, content) = (
            terminal::tame(&piece.reasoning),
            terminal::tame(&piece.content),
        );
        if !reasoning.is_empty() {
            self.thinking = true;
            terminal::murmur(&reasoning);
        }
        if content.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.thinking) {
            terminal::murmur("\n\n");
        }
        self.last = content.chars().last();
        terminal::piece(&content)
    }

    /// Ends the line that the answer stopped in, so that whatever follows has its own.
    fn end_line(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.thinking) {
            terminal::murmur("\n");
        }
        match self.last {
            None | Some('\n') => Ok(()),
            Some(_) => terminal::piece("\n"),
        }
    }

    /// Writes what follows a complete answer.
    fn finish(&self) -> Result<(), Failure> {
        if !self.reply.sources.is_empty() {
            terminal::data("")?;
        }
        for source in &self.reply.sources {
            terminal::data(&self.line(source))?;
        }
        for warning in &self.reply.warnings {
            warn(warning);
        }
        match (self.last, self.reply.finish.as_deref()) {
            (None, _) => warn("the model wrote nothing"),
            (Some(_), Some("length")) => {
                warn("the answer is not complete: the model reached its limit of tokens");
            }
            (Some(_), Some("content_filter")) => {
                warn("the answer is not complete: a filter of the provider ended it");
            }
            (Some(_), Some(_) | None) => {}
        }
        Ok(())
    }

    fn line(&self, source: &Value) -> String {
        let number = reply::number(source).unwrap_or_default();
        let page = |key: &str| source.get(key).and_then(Value::as_u64);
        let name = source.get("filename").and_then(Value::as_str);
        let name = label(
            name.unwrap_or("(no name)"),
            page("page_start"),
            page("page_end"),
        );
        let mut line = format!("{NUMBER}[{number}]{NUMBER:#} {name}");
        if let Some(link) = self.reply.link(number) {
            let link = terminal::tame(link);
            line.push_str(&format!("\n    {DIM}{link}{DIM:#}"));
        }
        line
    }
}
