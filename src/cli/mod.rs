//! What a person types. Data goes to stdout, talk to stderr.

mod arguments;
mod ask;
mod check;
mod connection;
mod door;
mod gateway;
mod health;
mod key;
mod models;
mod reload;
mod reply;
mod sandbox;
mod search;
mod serve;
mod server;
mod terminal;
mod tls;
mod upload;
mod workers;

use std::{net::SocketAddr, path::Path, process::ExitCode};

use anstyle::{AnsiColor, Style};
use clap::{Parser, Subcommand};

use self::arguments::{Ask, Check, Health, Models, NewKey, Sandbox, Search, Serve, Source, Upload};
use crate::{
    config::{Config, Contents, Environment, Loaded, Overrides, Problems, Purpose},
    telemetry,
};

/// The configuration is wrong or missing (`EX_CONFIG` of sysexits.h).
const BAD_CONFIG: u8 = 78;

/// The command line is wrong, as clap has it.
const BAD_USAGE: u8 = 2;

/// A gateway that answers OpenAI clients from your company's own documents.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// What the command runs on: the gateway starts a thread for each core by itself.
    pub fn runtime(&self) -> tokio::runtime::Builder {
        match self.command {
            Command::Serve(_) => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        }
    }
}

const AFTER_HELP: &str = "\
Try it without keys and without a network:
  groundwire sandbox
  groundwire ask \"What is our data retention policy?\"     (in another terminal)

Exit codes: 0 fine, 1 it failed while running, 2 the command line is wrong, 78 the configuration is wrong or missing.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    #[command(after_help = SERVE_HELP)]
    Serve(Serve),
    /// Try it: run the gateway with local stand-ins for search and models, no keys, no network
    #[command(after_help = SANDBOX_HELP)]
    Sandbox(Sandbox),
    /// Ask a running gateway; the answer streams, the numbered sources follow it
    #[command(after_help = ASK_HELP)]
    Ask(Ask),
    /// Show the passages that a question would bring
    #[command(after_help = SEARCH_HELP)]
    Search(Search),
    /// List what a client can name as `model`
    #[command(after_help = MODELS_HELP)]
    Models(Models),
    /// Put documents where search finds them
    #[command(after_help = UPLOAD_HELP)]
    Upload(Upload),
    /// Read the configuration and print every problem at once
    #[command(after_help = CHECK_HELP)]
    Check(Check),
    /// Make a client key; it is printed once, with the block for the configuration
    #[command(after_help = KEY_HELP)]
    Key(NewKey),
    /// Say whether a running gateway is alive (for container health checks)
    #[command(hide = true)]
    Health(Health),
}

const SERVE_HELP: &str = "\
Examples:
  groundwire serve                            with LIGHTON_API_KEY and one provider's key in the environment
  groundwire serve --config groundwire.toml   every key of the file: config/reference.toml

Every setting is a variable, too: GROUNDWIRE_LISTEN, GROUNDWIRE_SEARCH__BASE_URL.";

const SANDBOX_HELP: &str = "\
Examples:
  groundwire sandbox
  groundwire sandbox --documents ~/papers

It prints `services on ...` and `listening on ...` once both accept connections; any OpenAI client works with the latter and any key.";

const ASK_HELP: &str = "\
Examples:
  groundwire ask \"What is our data retention policy?\"
  groundwire ask --url https://ai.example --model handbook --workspace 42 \"Who approves travel?\"
  groundwire ask --json - < question.txt | jq -r .answer";

const SEARCH_HELP: &str = "\
It asks the configured search itself, so no gateway has to run and no model is asked.

Examples:
  groundwire search \"data retention\"
  groundwire search --workspace 42 --json \"data retention\" | jq -r '.[].source.filename'";

const MODELS_HELP: &str = "\
On a terminal it prints a table, elsewhere one name a line.

Examples:
  groundwire models
  groundwire models --url https://ai.example --json | jq '.data[0]'";

const UPLOAD_HELP: &str = "\
It prints one line for each file that was stored: its id, its state and its path. What failed is told in the end, with exit code 1.

Examples:
  groundwire upload --wait handbook.pdf
  groundwire upload --workspace 42 contracts/ notes/*.md";

const CHECK_HELP: &str = "\
Examples:
  groundwire check --config groundwire.toml
  groundwire check --online";

const KEY_HELP: &str = "\
Examples:
  groundwire key acme
  groundwire key acme --workspace 42 --workspace 43";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is wrong; every problem is told.
    #[error(transparent)]
    Config(#[from] Problems),
    /// There is no configuration that a gateway could start from.
    #[error("{0}\nto try it first, without keys and without a network: groundwire sandbox")]
    Unconfigured(Problems),
    /// The command line, or a variable in its place, is wrong.
    #[error("{0}")]
    Usage(String),
    /// It failed while running.
    #[error("{0}")]
    Running(String),
    /// Nobody reads the output any more, which is no fault.
    #[error("nobody reads the output")]
    Unread,
}

impl Failure {
    fn running(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Running(format!("{what}: {error}"))
    }
}

/// Runs a command to its end.
pub async fn run(cli: Cli) -> ExitCode {
    let env = Environment::from_process();
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(args, &env).await,
        Command::Sandbox(args) => sandbox::run(args, &env).await,
        Command::Ask(args) => ask::run(args, &env).await,
        Command::Search(args) => search::run(args, &env).await,
        Command::Models(args) => models::run(args, &env).await,
        Command::Upload(args) => upload::run(args, &env).await,
        Command::Check(args) => check::run(args, &env).await,
        Command::Key(args) => key::run(&args),
        Command::Health(args) => health::run(args, &env).await,
    };
    let Err(failure) = outcome else {
        return ExitCode::SUCCESS;
    };
    let code = match failure {
        Failure::Unread => return ExitCode::SUCCESS,
        Failure::Config(_) | Failure::Unconfigured(_) => ExitCode::from(BAD_CONFIG),
        Failure::Usage(_) => ExitCode::from(BAD_USAGE),
        Failure::Running(_) => ExitCode::FAILURE,
    };
    // It may quote what a stranger at the other end sent.
    terminal::talk(&terminal::tame(&format!("groundwire: {failure}")));
    code
}

fn load(
    source: &Source,
    listen: Option<SocketAddr>,
    purpose: Purpose,
    env: &Environment,
) -> Result<Loaded, Failure> {
    load_again(source, listen, purpose, env, &mut Contents::default())
}

/// Reads the configuration but for the files in `contents`.
fn load_again(
    source: &Source,
    listen: Option<SocketAddr>,
    purpose: Purpose,
    env: &Environment,
    contents: &mut Contents,
) -> Result<Loaded, Failure> {
    let overrides = Overrides { listen, purpose };
    let loaded = Config::load_again(source.config.as_deref(), env, &overrides, contents);
    loaded.map_err(|problems| {
        // No file, and too little in the environment: likely somebody's first minute.
        let is_first = purpose == Purpose::Serve && !Path::new(problems.source()).exists();
        if is_first {
            Failure::Unconfigured(problems)
        } else {
            Failure::Config(problems)
        }
    })
}

fn start_log(config: &Config) -> telemetry::Running {
    telemetry::start(&config.log)
}

/// Tells something that the reader should know but that stops nothing.
fn warn(text: &str) {
    let style = Style::new().fg_color(Some(AnsiColor::Yellow.into()));
    let text = terminal::tame(text);
    terminal::talk(&format!("{style}warning:{style:#} {text}"));
}

/// What a source is called: `policy.pdf, p.3`, or `p.3-4`.
fn label(filename: &str, page_start: Option<u64>, page_end: Option<u64>) -> String {
    let name = terminal::tame(filename);
    match (page_start, page_end) {
        (Some(start), Some(end)) if end > start => format!("{name}, p.{start}-{end}"),
        (Some(start), _) => format!("{name}, p.{start}"),
        (None, _) => name,
    }
}

/// What lies at the bottom of an error: `Connection refused`, rather than what tried to connect.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(deeper) = deepest.source() {
        deepest = deeper;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
