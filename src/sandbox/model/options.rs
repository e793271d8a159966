//! What chat and legacy completions have in common: the model, the limits, how the answer is delivered.

use serde_json::Value;

use super::{Model, fields::Fields, refusal::Refusal, tokens::Limits};

/// OpenAI takes this many stop texts.
const STOPS: usize = 4;

/// OpenAI gives this many answers to one request.
const CHOICES: u64 = 128;

/// The settings of a request.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// The model by the name the caller used.
    pub(super) id: String,
    /// The model.
    pub(super) model: Model,
    /// How many answers.
    pub(super) choices: u32,
    /// What bounds each.
    pub(super) limits: Limits,
    /// How they are delivered.
    pub(super) delivery: Delivery,
}

/// How an answer is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// In one body.
    Whole,
    /// As events.
    Stream(FinalUsage),
}

/// Whether a stream ends with a chunk that tells the usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FinalUsage {
    Told,
    Untold,
}

impl Options {
    /// Reads the settings as strictly as vLLM does; what changes nothing in these models is checked and then left alone.
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, Refusal> {
        let id = fields
            .text("model")?
            .ok_or_else(|| Refusal::missing("model"))?
            .to_owned();
        let model = Model::by_id(&id).ok_or_else(|| Refusal::unknown_model(&id))?;
        fields.number("temperature", 0.0..=2.0)?;
        fields.number("top_p", 0.0..=1.0)?;
        fields.number("presence_penalty", -2.0..=2.0)?;
        fields.number("frequency_penalty", -2.0..=2.0)?;
        seed(fields)?;
        let choices = fields.integer("n", 1..=CHOICES)?.unwrap_or(1);
        let older = fields.integer("max_tokens", 1..=u64::MAX)?;
        let max_tokens = fields
            .integer("max_completion_tokens", 1..=u64::MAX)?
            .or(older);
        let limits = Limits {
            max_tokens,
            stop: stop(fields)?,
        };
        let choices = u32::try_from(choices).unwrap_or(1);
        Ok(Self {
            id,
            model,
            choices,
            limits,
            delivery: delivery(fields)?,
        })
    }
}

/// Seeds may be negative; these models say the same whatever the seed.
fn seed(fields: Fields<'_>) -> Result<(), Refusal> {
    match fields.get("seed") {
        Some(seed) if !seed.is_i64() && !seed.is_u64() => {
            Err(Refusal::value("seed", "`seed` must be an integer"))
        }
        _ => Ok(()),
    }
}

fn stop(fields: Fields<'_>) -> Result<Vec<String>, Refusal> {
    let refused = || {
        Refusal::value(
            "stop",
            format!("`stop` must be a string or a list of at most {STOPS}, none of them empty"),
        )
    };
    let stops: Vec<String> = match fields.get("stop") {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(list)) => list
            .iter()
            .map(|stop| stop.as_str().map(str::to_owned).ok_or_else(refused))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(refused()),
    };
    if stops.len() > STOPS || stops.iter().any(String::is_empty) {
        return Err(refused());
    }
    Ok(stops)
}

fn delivery(fields: Fields<'_>) -> Result<Delivery, Refusal> {
    let streamed = fields.flag("stream")?.unwrap_or(false);
    let usage = match fields.get("stream_options") {
        Some(_) if !streamed => {
            return Err(Refusal::value(
                "stream_options",
                "`stream_options` goes with `stream: true` only",
            ));
        }
        Some(options) => Fields::of(options, "stream_options")?
            .flag("include_usage")?
            .unwrap_or(false),
        None => false,
    };
    Ok(match (streamed, usage) {
        (false, _) => Delivery::Whole,
        (true, true) => Delivery::Stream(FinalUsage::Told),
        (true, false) => Delivery::Stream(FinalUsage::Untold),
    })
}
