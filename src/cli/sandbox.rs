//! `groundwire sandbox`: the stand-ins of `sandbox/`, and the gateway wired to them over loopback.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::time::timeout;

use super::{Failure, Sandbox, door, serve, start_log, terminal, workers::Workers};
use crate::{
    config::{Config, Environment},
    sandbox::{self, Options, Services},
};

/// How long the stand-ins may go on when the gateway has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The upstreams that there are here.
const OWN: [&str; 2] = ["sandbox", "paradigm"];

/// Runs gateway and stand-ins until told to stop.
pub(super) async fn run(args: Sandbox, env: &Environment) -> Result<(), Failure> {
    let mut options = Options::new(args.services_listen);
    let named = args.documents.is_some();
    options.documents = args.documents;
    options.data = args.data;
    let (progress, bar) = terminal::progress("reading documents");
    options.progress = progress;
    let services = Services::start(options).await;
    bar.finish_and_clear();
    let services = services.map_err(|error| match error {
        sandbox::Error::Listen { listen, source } => {
            door::deaf(listen, &source, "--services-listen")
        }
        sandbox::Error::Library(_) => Failure::Running(Told::of(&error)),
    })?;

    let config = settings(services.addr, args.listen, env)?;
    let _log = start_log(&config);
    let documents = if named {
        "your folder"
    } else {
        "the built-in handbook"
    };
    terminal::talk(&format!(
        "sandbox over {documents}: no keys, no network; nothing here is for production"
    ));
    terminal::talk(&format!("services on http://{}", services.addr));
    serve::gateway(config, None, &Workers::none()).await?;
    // A client that talks to the stand-ins directly may never finish, and signals are not listened to any more.
    let _ = timeout(LAST_WORDS, services.shutdown()).await;
    Ok(())
}

/// The very settings that a production gateway would have, with the stand-ins as neighbours.
fn settings(
    services: SocketAddr,
    listen: Option<SocketAddr>,
    env: &Environment,
) -> Result<Config, Failure> {
    // What listens everywhere is reached by loopback.
    let reached = if services.ip().is_unspecified() {
        SocketAddr::new(loopback(services.ip()), services.port())
    } else {
        services
    };
    let text = format!(
        r#"
        [search]
        base_url = "http://{reached}"
        api_key = "sandbox"
        # The guides upload without naming a workspace.
        [files]
        workspace_id = 1
        [upstreams.sandbox]
        base_url = "http://{reached}/v1"
        api_key = "sandbox"
        [upstreams.paradigm]
        base_url = "http://{reached}/api/v2"
        api_key = "sandbox"
        "#
    );
    let mut config = Config::parse(&text, &env.without(is_wiring))?;
    if let Some(listen) = listen {
        config.listen = listen;
    }
    Ok(config)
}

/// Whether a variable says where a neighbour is: those that are set are meant for the real gateway, and nothing here leaves this machine.
fn is_wiring(variable: &str, value: &str) -> bool {
    let Some(key) = variable.strip_prefix("GROUNDWIRE_") else {
        return false;
    };
    let parts: Vec<&str> = key.split("__").collect();
    match parts[..] {
        ["DEFAULT_UPSTREAM"] | ["MODELS", _, "UPSTREAM"] => !OWN.contains(&value),
        ["SEARCH", key] => matches!(key, "BACKEND" | "BASE_URL" | "API_KEY" | "DOCUMENTS"),
        ["UPSTREAMS", name, key, ..] => {
            let is_own = OWN.iter().any(|own| own.eq_ignore_ascii_case(name));
            !is_own || matches!(key, "BASE_URL" | "API_KEY")
        }
        _ => false,
    }
}

fn loopback(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
    }
}

/// An error with everything below it, on one line.
struct Told;

impl Told {
    fn of(error: &dyn std::error::Error) -> String {
        let mut line = error.to_string();
        let mut source = error.source();
        while let Some(deeper) = source {
            line = format!("{line}: {deeper}");
            source = deeper.source();
        }
        line
    }
}
