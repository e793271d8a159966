//! Providers that need no address: a new one is a row here.

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
    pub quirks: &'static [&'static str],
}

/// The presets, in the order in which they are on when only the environment tells.
///
/// Addresses and variables are those of LightOn's guides, and of the SDKs of OpenAI and Ollama.
pub static PRESETS: [Preset; 6] = [
    preset(
        "inceptron",
        "https://api.inceptron.io/v1",
        Some("INCEPTRON_API_KEY"),
    ),
    preset(
        "ovhcloud",
        "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1",
        Some("OVH_AI_ENDPOINTS_ACCESS_TOKEN"),
    ),
    preset(
        "scaleway",
        "https://api.scaleway.ai/v1",
        Some("SCALEWAY_API_KEY"),
    ),
    preset(
        "paradigm",
        "https://paradigm.lighton.ai/api/v2",
        Some("PARADIGM_API_KEY"),
    ),
    preset(
        "openai",
        "https://api.openai.com/v1",
        Some("OPENAI_API_KEY"),
    ),
    preset("ollama", "http://127.0.0.1:11434/v1", None),
];

/// Every name that `quirks` may hold: the wire differences that the gateway evens out.
pub const QUIRKS: &[&str] = &[];

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
) -> Preset {
    Preset {
        name,
        base_url,
        variable,
        quirks: &[],
    }
}
