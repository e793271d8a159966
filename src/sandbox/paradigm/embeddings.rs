//! `POST /embeddings`: real vectors from a small deterministic model.
//!
//! The model hashes the words of a text and the three to five letters long pieces of each word into a vector of 256 numbers (the
//! "hashing trick" of Weinberger et al., 2009, with signs, so that collisions cancel out) and scales it to length 1. Texts that share
//! words or stems come out alike, which is enough to try a vector database; it knows no meaning beyond that.

use axum::extract::Request;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use crate::sandbox::json::Json;

use super::{Error, LightOnError, read_json};

/// What a request names the model by.
pub(super) const MODEL: &str = "sandbox-embedding";

const DEFAULT_DIMENSIONS: usize = 256;
const MOST_DIMENSIONS: usize = 4096;
/// OpenAI's own limit on the inputs of one request.
const MOST_INPUTS: usize = 2048;

/// A word counts as much as this many of its pieces.
const WORD_WEIGHT: f32 = 3.0;

#[derive(Debug, Deserialize)]
pub(super) struct EmbeddingRequest {
    model: String,
    input: Input,
    #[serde(default)]
    dimensions: Option<usize>,
    #[serde(default)]
    encoding_format: Option<Encoding>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Float,
    Base64,
}

/// Answers with one vector for each input.
pub(super) async fn create(request: Request) -> Result<Json<Value>, Error> {
    let request: EmbeddingRequest = read_json(request).await?;
    if request.model != MODEL {
        return Err(LightOnError::NotFound("Model").into());
    }
    let dimensions = request.dimensions.unwrap_or(DEFAULT_DIMENSIONS);
    if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
        return Err(Error::bad_request(format!(
            "dimensions must be between 1 and {MOST_DIMENSIONS}."
        )));
    }
    let inputs = features_of(request.input);
    if inputs.is_empty() || inputs.len() > MOST_INPUTS {
        return Err(Error::bad_request(format!(
            "input must have between 1 and {MOST_INPUTS} items."
        )));
    }
    if inputs.iter().any(|(features, _)| features.is_empty()) {
        return Err(Error::bad_request("input must not be empty."));
    }
    let tokens: usize = inputs.iter().map(|(_, tokens)| tokens).sum();
    let encoding = request.encoding_format.unwrap_or(Encoding::Float);
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, (features, _))| {
            let vector = vector(features, dimensions);
            json!({"object": "embedding", "index": index, "embedding": encode(&vector, encoding)})
        })
        .collect();
    Ok(Json(json!({
        "id": uuid::Uuid::new_v4(),
        "object": "list",
        "data": data,
        "model": MODEL,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })))
}

/// The features of each input with their weights, and how many tokens it counts for: a word is one, and so is a given token.
fn features_of(input: Input) -> Vec<(Vec<(String, f32)>, usize)> {
    let of_text = |text: String| {
        let words = words(&text);
        let tokens = words.len();
        (
            words.iter().flat_map(|word| features(word)).collect(),
            tokens,
        )
    };
    let of_tokens = |tokens: Vec<u32>| {
        let count = tokens.len();
        (
            tokens
                .into_iter()
                .map(|token| (format!("#{token}"), WORD_WEIGHT))
                .collect(),
            count,
        )
    };
    match input {
        Input::Text(text) => vec![of_text(text)],
        Input::Texts(texts) => texts.into_iter().map(of_text).collect(),
        Input::Tokens(tokens) => vec![of_tokens(tokens)],
        Input::TokenLists(lists) => lists.into_iter().map(of_tokens).collect(),
    }
}

/// The words of `text` in lower case and without accents; signs alone are one word, so that no text but an empty one has none.
fn words(text: &str) -> Vec<String> {
    let plain: String = text
        .nfd()
        .filter(|character| !is_combining_mark(*character))
        .collect::<String>()
        .to_lowercase();
    let words: Vec<String> = plain
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    match words.is_empty() && !plain.trim().is_empty() {
        true => vec![plain],
        false => words,
    }
}

fn features(word: &str) -> Vec<(String, f32)> {
    let mut features = vec![(word.to_owned(), WORD_WEIGHT)];
    // The marks at both ends tell a beginning and an end from a middle.
    let letters: Vec<char> = format!("<{word}>").chars().collect();
    for length in 3..=5 {
        features.extend(
            letters
                .windows(length)
                .map(|piece| (piece.iter().collect(), 1.0)),
        );
    }
    features
}

fn vector(features: &[(String, f32)], dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    for (feature, weight) in features {
        let hash = fnv1a(feature.as_bytes());
        let place = usize::try_from(hash >> 1).unwrap_or_default() % dimensions;
        if let Some(number) = vector.get_mut(place) {
            *number += if hash & 1 == 0 { *weight } else { -*weight };
        }
    }
    let length = vector
        .iter()
        .map(|number| number * number)
        .sum::<f32>()
        .sqrt();
    if length == 0.0 {
        // Every feature met its opposite: any direction is as good, as long as it is always the same.
        if let Some(first) = vector.first_mut() {
            *first = 1.0;
        }
        return vector;
    }
    vector.iter_mut().for_each(|number| *number /= length);
    vector
}

fn encode(vector: &[f32], encoding: Encoding) -> Value {
    match encoding {
        Encoding::Float => json!(vector),
        Encoding::Base64 => {
            let bytes: Vec<u8> = vector
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect();
            json!(STANDARD.encode(bytes))
        }
    }
}

/// FNV-1a with 64 bits, finished by the mixer of SplitMix64: FNV's lowest bits alone are too regular to draw signs from.
fn fnv1a(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embed(text: &str) -> Vec<f32> {
        let inputs = features_of(Input::Text(text.to_owned()));
        vector(&inputs[0].0, DEFAULT_DIMENSIONS)
    }

    fn likeness(a: &str, b: &str) -> f32 {
        embed(a).iter().zip(embed(b)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_on_the_same_thing_are_nearer_than_others() {
        let question = "How long is customer data retained?";
        let answer = "We retain the data of customers for seven years.";
        let other = "The office in Lyon opens at eight in the morning.";
        assert!(likeness(question, answer) > likeness(question, other) + 0.2);
    }

    #[test]
    fn stems_and_accents_make_little_difference() {
        assert!(likeness("télétravail", "teletravail") > 0.999);
        assert!(likeness("retention", "retentions") > 0.5);
    }

    #[test]
    fn vectors_have_length_one_in_any_number_of_dimensions() {
        for dimensions in [1, 2, 7, 256, 4096] {
            let inputs = features_of(Input::Text("a few words, and a few more".to_owned()));
            let vector = vector(&inputs[0].0, dimensions);
            let length: f32 = vector.iter().map(|number| number * number).sum();
            assert_eq!(vector.len(), dimensions);
            assert!(
                (length - 1.0).abs() < 1e-5,
                "{dimensions} dimensions: {length}"
            );
        }
    }
}
