//! What a person types. Data goes to stdout, talk to stderr.

mod check;
mod health;
mod sandbox;
mod serve;
mod server;
mod terminal;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{Config, Environment, Loaded, Overrides, Problems, Purpose},
    telemetry,
};

/// The configuration is wrong or missing (`EX_CONFIG` of sysexits.h).
const BAD_CONFIG: u8 = 78;

/// A gateway that answers OpenAI clients from your company's own documents.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Try it without keys and without a network:
  groundwire sandbox
  groundwire ask \"What is our data retention policy?\"

Exit codes: 0 fine, 1 it failed while running, 2 the command line is wrong, 78 the configuration is wrong or missing.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(Serve),
    /// Try it: run the gateway with local stand-ins for search and models, no keys, no network
    Sandbox(Sandbox),
    /// Read the configuration and print every problem at once
    Check(Check),
    /// Say whether a running gateway is alive (for container health checks)
    #[command(hide = true)]
    Health(Health),
}

#[derive(Debug, Args)]
struct Source {
    /// The configuration file [default: $GROUNDWIRE_CONFIG, else config/groundwire.toml if it is there, else the environment alone]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    source: Source,
    /// The address to listen on; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
struct Sandbox {
    /// The documents to search (.md .txt .html .pdf .docx); a workspace for each sub-folder [default: a built-in handbook]
    #[arg(long, value_name = "DIR")]
    documents: Option<PathBuf>,
    /// Where uploads are kept for the next start [default: in memory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The gateway's address; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The address of the stand-ins; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    services_listen: SocketAddr,
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    source: Source,
    /// Also ask search and each upstream
    #[arg(long)]
    online: bool,
}

#[derive(Debug, Args)]
struct Health {
    /// The gateway's address
    #[arg(
        long,
        value_name = "URL",
        env = "GROUNDWIRE_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    url: String,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is wrong; every problem is told.
    #[error(transparent)]
    Config(#[from] Problems),
    /// It failed while running.
    #[error("{0}")]
    Running(String),
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
        Command::Check(args) => check::run(args, &env).await,
        Command::Health(args) => health::run(args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::talk(&format!("groundwire: {failure}"));
            match failure {
                Failure::Config(_) => ExitCode::from(BAD_CONFIG),
                Failure::Running(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn load(
    source: &Source,
    listen: Option<SocketAddr>,
    purpose: Purpose,
    env: &Environment,
) -> Result<Loaded, Problems> {
    Config::load(
        source.config.as_deref(),
        env,
        &Overrides { listen, purpose },
    )
}

fn start_log(config: &Config) {
    telemetry::start(&config.log);
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
