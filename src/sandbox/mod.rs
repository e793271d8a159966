//! The sandbox: local stand-ins for the gateway's neighbours, spoken to over HTTP only.
//!
//! Three services listen on one address: LightOn's search API under `/api/v3` ([`lighton`]), LightOn Paradigm under `/api/v2`
//! ([`paradigm`]), and a model provider under `/v1` ([`model`]). The first two share a library of documents. Nothing here is reached
//! from the gateway's own code: it runs against the sandbox as it does against the real neighbours.

mod handbook;
mod json;
mod library;
pub mod lighton;
pub mod model;
pub mod paradigm;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, header},
    response::Response,
    serve::ListenerExt,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

pub use library::Error as LibraryError;
use library::Library;
use lighton::Behaviour;

/// What the sandbox is started with.
pub struct Options {
    /// The folder of documents; the built-in handbook without one.
    pub documents: Option<PathBuf>,
    /// Where uploads are kept for the next start; without it they go with the program.
    pub data: Option<PathBuf>,
    /// Where the services listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// How the search service behaves.
    pub behaviour: Behaviour,
    /// Told how many of how many documents were read, from another thread.
    pub progress: Box<dyn FnMut(usize, usize) + Send>,
}

impl Options {
    /// The handbook, uploads that go with the program, and today's behaviour, on `listen`.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            documents: None,
            data: None,
            listen,
            behaviour: Behaviour::default(),
            progress: Box::new(|_, _| {}),
        }
    }
}

/// Why the sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The documents or the uploads cannot be used.
    #[error("the sandbox has no library")]
    Library(#[from] LibraryError),
    /// The address cannot be listened on.
    #[error("the sandbox cannot listen on {listen}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What failed.
        #[source]
        source: io::Error,
    },
}

/// The running services. They stop at once when this is dropped, and in peace by [`Services::shutdown`].
pub struct Services {
    /// Where they listen.
    pub addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Services {
    /// Reads the documents and starts the services; returns once they accept connections.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let Options {
            documents,
            data,
            listen,
            behaviour,
            mut progress,
        } = options;
        let opening = tokio::task::spawn_blocking(move || {
            Library::open(
                documents.as_deref(),
                data.as_deref(),
                behaviour.settle,
                &mut progress,
            )
        });
        let library = opening.await.map_err(|_| LibraryError::Stopped)??;
        let failed = |source| Error::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let router = router(Arc::new(library), behaviour);
        #[expect(
            clippy::disallowed_methods,
            reason = "the services outlive the call that starts them; they end with the `Services` returned"
        )]
        let serving = tokio::spawn(serve(listener, router, stopped));
        Ok(Self {
            addr,
            stop: Some(stop),
            serving,
        })
    }

    /// Takes no more connections and returns when the open answers are finished.
    pub async fn shutdown(mut self) {
        if let Some(stop) = self.stop.take() {
            // The receiver is gone only when the services already ended.
            let _ = stop.send(());
        }
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, router: Router, stopped: oneshot::Receiver<()>) {
    // The words of a streamed answer are small packets: Nagle's algorithm would hold them back.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let stopped = async {
        // An error says that the sender was dropped: then this task is about to be aborted, too.
        let _ = stopped.await;
    };
    if let Err(error) = axum::serve(listener, router)
        .with_graceful_shutdown(stopped)
        .await
    {
        tracing::error!(%error, "the sandbox's services stopped");
    }
}

fn router(library: Arc<Library>, behaviour: Behaviour) -> Router {
    Router::new()
        .merge(lighton::router(Arc::clone(&library), behaviour.contract))
        .merge(paradigm::router(library))
        .merge(model::router())
        .fallback(unknown_path)
}

/// Refuses a path that leads nowhere, in the words of the service that it would belong to.
async fn unknown_path(request: Request) -> Response {
    let path = request.uri().path();
    match path.starts_with(paradigm::PREFIX) {
        true => paradigm::unknown_path(path),
        false => lighton::unknown_path(path),
    }
}

/// The bearer key of a request; `None` when there is none or it is empty.
fn bearer_key(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}
