//! Providers that need no address: a new one is a row here.

use super::Quirk;

/// A provider that a configuration can name without saying where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The name in `[upstreams]`.
    pub name: &'static str,
    /// The address of its OpenAI-compatible API.
    pub base_url: &'static str,
    /// The variable that holds its key; unset: it takes none.
    pub variable: Option<&'static str>,
    /// Its wire differences.
    pub quirks: &'static [Quirk],
}

/// The presets, in the order in which they are on when only the environment tells.
///
/// Addresses and variables are those of LightOn's guides, and of the SDKs of OpenAI and Ollama.
pub static PRESETS: [Preset; 6] = [
    preset(
        "inceptron",
        "https://api.inceptron.io/v1",
        Some("INCEPTRON_API_KEY"),
        TEMPLATES,
    ),
    preset(
        "ovhcloud",
        "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1",
        Some("OVH_AI_ENDPOINTS_ACCESS_TOKEN"),
        OVHCLOUD,
    ),
    preset(
        "scaleway",
        "https://api.scaleway.ai/v1",
        Some("SCALEWAY_API_KEY"),
        TEMPLATES,
    ),
    preset(
        "paradigm",
        "https://paradigm.lighton.ai/api/v2",
        Some("PARADIGM_API_KEY"),
        PARADIGM,
    ),
    preset(
        "openai",
        "https://api.openai.com/v1",
        Some("OPENAI_API_KEY"),
        &[],
    ),
    preset("ollama", "http://127.0.0.1:11434/v1", None, OLLAMA),
];

/// Every name that `quirks` may hold: the wire differences that the gateway evens out.
pub const QUIRKS: &[&str] = Quirk::WORDS;

/// What holds for every provider whose models run on vLLM and its like: chat templates that know no `developer`, and a 400 for `tools: []`.
const TEMPLATES: &[Quirk] = &[Quirk::DeveloperAsSystem, Quirk::DropEmptyTools];

/// OVHcloud takes bodies of 2 MB (its capabilities guide).
const OVHCLOUD: &[Quirk] = &[
    Quirk::DeveloperAsSystem,
    Quirk::DropEmptyTools,
    Quirk::BodyLimit2Mb,
];

/// Paradigm documents `max_tokens` alone.
const PARADIGM: &[Quirk] = &[
    Quirk::DeveloperAsSystem,
    Quirk::DropEmptyTools,
    Quirk::UseMaxTokens,
];

/// Ollama ignores `max_completion_tokens` and refuses an assistant's `content: null` (its `openai/openai.go`).
const OLLAMA: &[Quirk] = &[
    Quirk::DeveloperAsSystem,
    Quirk::UseMaxTokens,
    Quirk::EmptyAssistantContent,
];

impl Preset {
    /// Finds the preset called `name`.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }
}

const fn preset(
    name: &'static str,
    base_url: &'static str,
    variable: Option<&'static str>,
    quirks: &'static [Quirk],
) -> Preset {
    Preset {
        name,
        base_url,
        variable,
        quirks,
    }
}
