//! `groundwire serve`: bind, print the address, serve, drain on a signal.

use std::{io, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use tokio::net::TcpListener;

use super::{Failure, Serve, load, reload, server, start_log, terminal};
use crate::{
    app::App,
    config::{Config, Environment, Purpose},
    http,
};

/// Runs the gateway until it is told to stop.
pub(super) async fn run(args: Serve, env: &Environment) -> Result<(), Failure> {
    let loaded = load(&args.source, args.listen, Purpose::Serve, env)?;
    let _log = start_log(&loaded.config);
    match &loaded.file {
        Some(file) => terminal::talk(&format!("configuration from {}", file.display())),
        None => terminal::talk("configuration from the environment alone"),
    }
    let follower = reload::Follower::new(args, env.clone(), &loaded)
        .map_err(|error| Failure::running("signals cannot be caught", error))?;
    gateway(loaded.config, Some(follower)).await
}

/// Serves `config` until the process is told to stop; `follower` looks after changes of the configuration meanwhile.
pub(super) async fn gateway(
    config: Config,
    follower: Option<reload::Follower>,
) -> Result<(), Failure> {
    let address = config.listen;
    let building = tokio::task::spawn_blocking(move || App::build(config)).await;
    let app = building
        .map_err(|error| Failure::running("the start died", error))?
        .map_err(|error| Failure::Running(error.to_string()))?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| deaf(address, &error, "--listen"))?;
    let bound = listener
        .local_addr()
        .map_err(|error| Failure::running("cannot tell the address", error))?;
    let stop = app.stop.clone();
    let parts = Arc::new(ArcSwap::from_pointee(app));
    let router = http::router(Arc::clone(&parts));
    // Before the address is told: who reads it may send a signal right away.
    let signals = server::Signals::new()
        .map_err(|error| Failure::running("signals cannot be caught", error))?;
    terminal::talk(&format!("listening on http://{bound}"));
    let serving = server::serve(listener, router, Arc::clone(&parts), signals, stop);
    let following = async {
        match follower {
            Some(follower) => follower.follow(&parts).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = serving => Ok(()),
        never = following => match never {},
    }
}

/// Says why nothing listens on `address`, which `option` would change.
pub(super) fn deaf(address: SocketAddr, error: &io::Error, option: &str) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "; another program listens there: stop it, or name another address with {option} (port 0 picks a free one)"
        ),
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need rights that this user lacks".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address".to_owned(),
        _ => String::new(),
    };
    Failure::Running(format!("cannot listen on {address}: {error}{hint}"))
}
