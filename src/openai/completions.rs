//! A request to `/v1/completions`: the prompt, and every other field as the client wrote it.

use bytes::Bytes;

use super::{
    chat::Invalid,
    json::{Json, Object},
    request,
};

/// A legacy completion request whose required fields are there.
#[derive(Debug, Clone)]
pub struct CompletionRequest {
    object: Object,
    /// What the client calls the model.
    pub model: String,
    /// What is to be completed.
    pub prompt: Prompt,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether the client asked for the usage chunk of a stream.
    pub include_usage: bool,
}

/// What is to be completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// One text.
    Text(String),
    /// Several texts, each completed by itself.
    Texts(Vec<String>),
    /// Token numbers of the model's own, one list or several: nobody but the model can read them.
    Tokens,
    /// `null`: the model begins a text of its own.
    None,
}

impl Prompt {
    /// The text that a search would be about: the first.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Texts(texts) => texts.first().map(String::as_str),
            Self::Tokens | Self::None => None,
        }
    }
}

impl CompletionRequest {
    /// Reads a request body.
    pub fn parse(body: Bytes) -> Result<Self, Invalid> {
        let object = request::object(body)?;
        let model = request::model(&object)?;
        let prompt = prompt(&object)?;
        let stream = request::flag(&object, "stream")?;
        let include_usage = request::include_usage(&object)?;
        request::limits(&object)?;
        Ok(Self {
            object,
            model,
            prompt,
            stream,
            include_usage,
        })
    }

    /// The fields as they stand.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Replaces one field.
    pub fn set(&mut self, key: &str, value: Json) {
        self.object.set(key, value);
    }

    /// Asks for the usage chunk of a stream; `include_usage` still says what the client wants.
    pub fn ask_for_usage(&mut self) {
        request::ask_for_usage(&mut self.object);
    }

    /// Takes one field out, where it is.
    pub fn remove(&mut self, key: &str) -> Option<Json> {
        self.object.remove(key)
    }

    /// Puts `text` before each prompt, a blank line between. Token prompts stay as they are.
    pub fn prepend(&mut self, text: &str) {
        let joined = |prompt: &mut String| *prompt = format!("{text}\n\n{prompt}");
        let changed = match &mut self.prompt {
            Prompt::Text(prompt) => {
                joined(prompt);
                Json::of(prompt)
            }
            Prompt::Texts(prompts) => {
                prompts.iter_mut().for_each(joined);
                Json::of(prompts)
            }
            Prompt::Tokens | Prompt::None => return,
        };
        self.object.set("prompt", changed);
    }

    /// The body to send on, for the model that the upstream calls `model`.
    pub fn body(&self, model: &str) -> Bytes {
        request::body_for(&self.object, &self.model, model)
    }
}

fn prompt(object: &Object) -> Result<Prompt, Invalid> {
    let Some(value) = object.value("prompt") else {
        return Err(Invalid::Missing("prompt".into()));
    };
    if value.is_null() {
        return Ok(Prompt::None);
    }
    if let Ok(text) = value.read::<String>() {
        return Ok(Prompt::Text(text));
    }
    let bad = || {
        Invalid::value(
            "prompt",
            "`prompt` must be a text, a list of texts, a list of tokens, or a list of such lists, and not empty",
        )
    };
    let items = value.items().filter(|items| !items.is_empty());
    let items = items.ok_or_else(bad)?;
    let texts: Option<Vec<String>> = items.iter().map(|item| item.read().ok()).collect();
    if let Some(texts) = texts {
        return Ok(Prompt::Texts(texts));
    }
    let token = |item: &Json| item.read::<u64>().is_ok();
    let tokens = |item: &Json| {
        item.read::<Vec<u64>>()
            .is_ok_and(|tokens| !tokens.is_empty())
    };
    if items.iter().all(token) || items.iter().all(tokens) {
        Ok(Prompt::Tokens)
    } else {
        Err(bad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CompletionRequest, Invalid> {
        CompletionRequest::parse(Bytes::from(text.to_owned()))
    }

    #[test]
    fn a_prompt_is_read_in_every_form() {
        for (prompt, expected) in [
            (r#""a""#, Prompt::Text("a".into())),
            (r#"["a","b"]"#, Prompt::Texts(vec!["a".into(), "b".into()])),
            ("[1,2]", Prompt::Tokens),
            ("[[1],[2,3]]", Prompt::Tokens),
            ("null", Prompt::None),
        ] {
            let request = parse(&format!(r#"{{"model":"m","prompt":{prompt}}}"#)).unwrap();
            assert_eq!(request.prompt, expected, "{prompt}");
        }
        assert_eq!(
            parse(r#"{"model":"m"}"#).unwrap_err(),
            Invalid::Missing("prompt".into())
        );
    }

    #[test]
    fn a_prompt_of_another_form_is_refused_by_name() {
        for prompt in ["1", "{}", "[]", r#"["a",1]"#, "[-1]", "[[]]", "[1.5]"] {
            match parse(&format!(r#"{{"model":"m","prompt":{prompt}}}"#)) {
                Err(Invalid::Value { param, .. }) => assert_eq!(param, "prompt", "{prompt}"),
                other => panic!("{prompt}: {other:?}"),
            }
        }
    }

    #[test]
    fn grounding_goes_before_each_text_and_leaves_the_rest_alone() {
        let mut many =
            parse(r#"{ "prompt": ["a" , "b"], "temperature": 0.70, "model":"m"}"#).unwrap();
        many.prepend("G");
        assert_eq!(
            many.body("n"),
            r#"{ "prompt": ["G\n\na","G\n\nb"], "temperature": 0.70, "model":"n"}"#
        );

        let mut tokens = parse(r#"{"model":"m","prompt":[ 1,2 ]}"#).unwrap();
        tokens.prepend("G");
        assert_eq!(tokens.body("m"), r#"{"model":"m","prompt":[ 1,2 ]}"#);
    }
}
