//! `groundwire serve`: bind, print the address, serve, drain on a signal.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::time::sleep;

use super::{
    Failure, Serve,
    door::{Door, Doors},
    load_again, reload, server, start_log, terminal, tls,
    workers::Workers,
};
use crate::{
    app::App,
    config::{Config, Contents, Environment, Purpose},
    http,
};

/// How often connections to neighbours are looked for that rested for long enough.
const SWEEP: Duration = Duration::from_secs(5);

/// Runs the gateway until it is told to stop.
pub(super) async fn run(args: Serve, env: &Environment) -> Result<(), Failure> {
    let mut contents = Contents::default();
    let loaded = load_again(
        &args.source,
        args.listen,
        Purpose::Serve,
        env,
        &mut contents,
    )?;
    let _log = start_log(&loaded.config);
    match &loaded.file {
        Some(file) => terminal::talk(&format!("configuration from {}", file.display())),
        None => terminal::talk("configuration from the environment alone"),
    }
    let follower = reload::Follower::new(args, env.clone(), &loaded.config, contents)
        .map_err(|error| Failure::running("signals cannot be caught", error))?;
    let workers =
        Workers::start().map_err(|error| Failure::running("the system gives no threads", error))?;
    gateway(loaded.config, Some(follower), &workers).await
}

/// Serves `config` until the process is told to stop; `follower` looks after changes of the configuration meanwhile.
pub(super) async fn gateway(
    config: Config,
    follower: Option<reload::Follower>,
    workers: &Workers,
) -> Result<(), Failure> {
    leave_no_core();
    let (address, apart) = (config.listen, config.admin_listen);
    let building = tokio::task::spawn_blocking(move || App::build(config)).await;
    let app = building
        .map_err(|error| Failure::running("the start died", error))?
        .map_err(|error| Failure::Running(error.to_string()))?;
    let stop = app.stop.clone();
    let parts = Arc::new(ArcSwap::from_pointee(app));
    let router = http::router(Arc::clone(&parts));
    let clients = Door::open(address, "--listen", router, tls::acceptor(&parts)?).await?;
    let operators = match apart {
        Some(apart) => {
            let router = http::admin(Arc::clone(&parts));
            Some(Door::open(apart, "`admin_listen`", router, None).await?)
        }
        None => None,
    };
    // Before the address is told: who reads it may send a signal right away.
    let signals = server::Signals::new()
        .map_err(|error| Failure::running("signals cannot be caught", error))?;
    if let Some(operators) = &operators {
        terminal::talk(&format!("admin on {}", operators.url()));
    }
    terminal::talk(&format!("listening on {}", clients.url()));
    let doors = Doors { clients, operators };
    let exporter = App::export(&parts);
    let serving = server::serve(doors, workers, Arc::clone(&parts), signals, stop);
    let following = async {
        match follower {
            Some(follower) => follower.follow(&parts).await,
            None => std::future::pending().await,
        }
    };
    let sweeping = async {
        loop {
            sleep(SWEEP).await;
            parts.load().sweep();
            give_back();
        }
    };
    tokio::select! {
        () = serving => {}
        never = following => match never {},
        never = sweeping => match never {},
    }
    exporter.finish().await;
    Ok(())
}

/// Lets the allocator return memory to the system that has been free for a while.
///
/// mimalloc looks after that only when it takes or frees a page, so that after a rush it would hold all of it until the next one. What is
/// taken here is large enough to be a page of its own, and is not written to.
fn give_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
}

/// Lets a crash leave no image of the memory behind: every key is in it.
fn leave_no_core() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(error = %error, "a crash may leave an image of the memory, with keys in it; set `ulimit -c 0`");
    }
}
