//! What each command takes, and what its `--help` says.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::gateway::Base;
use crate::config::{self, Mode};

#[derive(Debug, Clone, Args)]
pub(super) struct Source {
    /// The configuration file [default: $GROUNDWIRE_CONFIG, else config/groundwire.toml if it is there, else the environment alone]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Which gateway a client command asks, and as whom.
#[derive(Debug, Args)]
pub(super) struct Reach {
    /// The gateway's address, with or without /v1 [default: $GROUNDWIRE_URL, else http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<Base>,
    /// Your key for the gateway; others on this machine may see it here, but not in the variable [default: $GROUNDWIRE_KEY]
    #[arg(long, value_name = "KEY")]
    pub(super) key: Option<String>,
}

/// Where passages come from, and how many.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// A workspace to search, by its number; may be given again [default: every one that may be seen]
    #[arg(long = "workspace", value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(i64).range(1..))]
    pub(super) workspaces: Vec<i64>,
    /// How many passages at most, 1 to 100 [default: the configured number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) max_results: Option<u16>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) source: Source,
    /// The address to listen on; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    pub(super) listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(super) struct Sandbox {
    /// The documents to search (.md .txt .html .pdf .docx); a workspace for each sub-folder [default: a built-in handbook]
    #[arg(long, value_name = "DIR")]
    pub(super) documents: Option<PathBuf>,
    /// Where uploads are kept for the next start [default: in memory]
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// The gateway's address; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    pub(super) listen: Option<SocketAddr>,
    /// The address of the stand-ins; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081", value_parser = listen_address)]
    pub(super) services_listen: SocketAddr,
}

#[derive(Debug, Args)]
pub(super) struct Ask {
    /// What to ask; `-` reads it from the standard input
    #[arg(value_name = "QUESTION")]
    pub(super) question: String,
    #[command(flatten)]
    pub(super) reach: Reach,
    /// The model that answers [default: the first chat model that the gateway lists]
    #[arg(long, value_name = "MODEL")]
    pub(super) model: Option<String>,
    /// How documents reach the model: inject, tool or off [default: the gateway's own setting]
    #[arg(long, value_name = "MODE", hide_possible_values = true, value_parser = clap::builder::PossibleValuesParser::new(Mode::WORDS))]
    pub(super) mode: Option<String>,
    #[command(flatten)]
    pub(super) place: Where,
    /// Print one JSON object {model, answer, sources, usage, warnings} when the answer is complete
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Search {
    /// What to look for
    #[arg(value_name = "QUERY")]
    pub(super) query: String,
    #[command(flatten)]
    pub(super) source: Source,
    #[command(flatten)]
    pub(super) place: Where,
    /// Print the passages as a JSON array, in the shape of LightOn's results
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Models {
    #[command(flatten)]
    pub(super) reach: Reach,
    /// Print the gateway's list as it came
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Upload {
    /// Documents, or folders of them with everything below
    #[arg(value_name = "FILES", required = true)]
    pub(super) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) reach: Reach,
    /// The workspace they go to, by its number [default: the only one that the key or the configuration names]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub(super) workspace: Option<i64>,
    /// Wait until search finds them
    #[arg(long)]
    pub(super) wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) source: Source,
    /// Also ask search and each upstream
    #[arg(long)]
    pub(super) online: bool,
}

#[derive(Debug, Args)]
pub(super) struct NewKey {
    /// Who it is for: the name that logs show instead of the key
    #[arg(value_name = "NAME", value_parser = name)]
    pub(super) name: String,
    /// A workspace that the key may see, by its number; may be given again [default: every one]
    #[arg(long = "workspace", value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(i64).range(1..))]
    pub(super) workspaces: Vec<i64>,
}

#[derive(Debug, Args)]
pub(super) struct Health {
    /// The gateway's address [default: $GROUNDWIRE_URL, else what the configuration says, else http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<Base>,
    #[command(flatten)]
    pub(super) source: Source,
}

/// Takes what the configuration takes as an address to listen on.
fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    config::listen_address(text)
        .ok_or("write a number address and a port, like 127.0.0.1:8080 or [::]:8080")
}

/// Takes what the configuration takes as a key's name.
fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("a name is not empty and holds no control characters".to_owned());
    }
    Ok(text.to_owned())
}
