//! A door: an address where connections come in, as plain text or by TLS, and the routes behind it.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use futures_util::future::{BoxFuture, FutureExt};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    Failure,
    connection::{self, Versions},
};
use crate::http::Transport;

/// How long a client may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Where clients come in, and where operators do when that is apart.
pub(super) struct Doors {
    pub(super) clients: Door,
    pub(super) operators: Option<Door>,
}

/// An address where connections come in.
pub(super) struct Door {
    listener: TcpListener,
    bound: SocketAddr,
    router: Router,
    tls: Option<TlsAcceptor>,
}

/// What serves a connection to its end.
pub(super) type Serving = BoxFuture<'static, Result<(), Box<dyn std::error::Error + Send + Sync>>>;

impl Doors {
    /// Waits for the next connection, and tells through which door it came.
    pub(super) async fn accept(&self) -> (&Door, io::Result<(TcpStream, SocketAddr)>) {
        let Some(operators) = &self.operators else {
            return (&self.clients, self.clients.listener.accept().await);
        };
        tokio::select! {
            accepted = self.clients.listener.accept() => (&self.clients, accepted),
            accepted = operators.listener.accept() => (operators, accepted),
        }
    }
}

impl Door {
    /// Opens a door on `address`, which `option` would change.
    pub(super) async fn open(
        address: SocketAddr,
        option: &str,
        router: Router,
        tls: Option<TlsAcceptor>,
    ) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| deaf(address, &error, option))?;
        let bound = listener
            .local_addr()
            .map_err(|error| Failure::running("cannot tell the address", error))?;
        Ok(Self {
            listener,
            bound,
            router,
            tls,
        })
    }

    /// How a client on this machine reaches it.
    pub(super) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.bound)
    }

    /// What serves a socket to its end; agreeing on TLS is part of it, so that nobody waits for a client that is slow at it.
    pub(super) fn serve(
        &self,
        versions: Arc<Versions>,
        closing: CancellationToken,
    ) -> impl FnOnce(TcpStream) -> Serving + Send + 'static {
        let (router, tls) = (self.router.clone(), self.tls.clone());
        move |socket| match tls {
            None => connection::serve(versions, socket, Transport::Plain, router, closing).boxed(),
            Some(tls) => async move {
                let Some(agreed) = agree(tls.accept(socket), &closing).await else {
                    return Ok(());
                };
                connection::serve(versions, agreed?, Transport::Tls, router, closing).await
            }
            .boxed(),
        }
    }
}

/// The connection once both sides agree on TLS; `None` when the process wants to end first.
async fn agree<T>(
    handshake: impl Future<Output = io::Result<T>>,
    closing: &CancellationToken,
) -> Option<io::Result<T>> {
    let agreed = timeout(HANDSHAKE, handshake);
    let agreed = closing.run_until_cancelled(agreed).await?;
    Some(agreed.unwrap_or_else(|_| {
        let late = format!("no TLS was agreed on within {HANDSHAKE:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, late))
    }))
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
