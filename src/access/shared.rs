//! Limits that several gateways share: their buckets lie in Redis or Valkey.
//!
//! One script does what `bucket.rs` does, in one step and by the server's clock, so that gateways whose clocks differ agree. A request waits a
//! short time for it at most. After a failure the server counts as away for a moment and nobody waits for it; then one request tries again.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use redis::{
    Client, RedisError, Script, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::{sync::Notify, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::config::{OnSharedError, SharedLimits};

const SCRIPT: &str = include_str!("bucket.lua");

/// A bucket of nobody's, which stays empty.
const PROBE: &str = "groundwire:limit:probe";

/// How long nobody asks after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a connection may take. It goes on in the background, so this may be longer than a request waits.
const CONNECT: Duration = Duration::from_secs(2);

/// The server that counts for several gateways.
pub(super) struct Shared {
    server: Arc<Server>,
    owed: Arc<Owed>,
    /// Tells the server what is owed, as long as this lives.
    settling: OnceLock<AbortOnDropHandle<()>>,
    policy: OnSharedError,
}

/// How it stands with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It answers, or was not asked yet.
    Up,
    /// It does not answer.
    Away,
}

/// The server's address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the address of the server that counts for several gateways cannot be used ({0})")]
pub struct Unusable(String);

/// The server gave no answer.
#[derive(Debug)]
pub(super) struct Away;

/// What the server counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// What is used, in parts.
    pub(super) used: u64,
    /// How long until there is room, where there was none.
    pub(super) wait: Option<Duration>,
}

impl Shared {
    /// A server that is not asked yet.
    pub(super) fn new(settings: &SharedLimits) -> Result<Self, Unusable> {
        // `rediss` takes the process' own choice. Fails where one was made before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = settings.redis_url.expose();
        let client = match &settings.ca {
            None => Client::open(url),
            Some(ca) => {
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(ca.to_vec()),
                };
                Client::build_with_tls(url, certificates)
            }
        };
        let client = client.map_err(|error| Unusable(error.category().to_owned()))?;
        let server = Server {
            client,
            timeout: settings.timeout,
            script: Script::new(SCRIPT),
            connection: OnceLock::new(),
            health: Mutex::new(Health::Up),
        };
        Ok(Self {
            server: Arc::new(server),
            owed: Arc::default(),
            settling: OnceLock::new(),
            policy: settings.on_error,
        })
    }

    /// What happens while the server is away.
    pub(super) fn policy(&self) -> OnSharedError {
        self.policy
    }

    /// How it stands with the server.
    pub(super) fn reach(&self) -> Reach {
        match *self.server.health() {
            Health::Up => Reach::Up,
            Health::Away { .. } => Reach::Away,
        }
    }

    /// Asks the server whether it is there, with more patience than requests have.
    pub(super) async fn probe(&self) -> Reach {
        let asking = self.server.ask(PROBE, 1, 0, How::Settle);
        match timeout(CONNECT, asking).await {
            Ok(Ok(_)) => {
                self.server.came_back();
                Reach::Up
            }
            Ok(Err(_)) | Err(_) => Reach::Away,
        }
    }

    /// Uses `cost` of the bucket `key`, where there is room.
    pub(super) async fn take(&self, key: &str, limit: u32, cost: u64) -> Result<Told, Away> {
        self.begin_settling();
        let cost = i64::from(limit).min(i64::try_from(cost).unwrap_or(i64::MAX));
        self.server.count(key, limit, cost, How::Take).await
    }

    /// Uses `cost` of the bucket `key` in any case, soon: nobody waits for it.
    pub(super) fn settle(&self, key: String, limit: u32, cost: i64) {
        let mut owed = self.owed.lock();
        let debt = owed.entry(key).or_insert((limit, 0));
        *debt = (limit, debt.1.saturating_add(cost));
        drop(owed);
        self.owed.told.notify_one();
    }

    fn begin_settling(&self) {
        self.settling.get_or_init(|| {
            let settling = settle_owed(Arc::clone(&self.server), Arc::clone(&self.owed));
            #[expect(
                clippy::disallowed_methods,
                reason = "a request ends before it can tell the server what it took; this ends with the limits that it belongs to"
            )]
            AbortOnDropHandle::new(tokio::spawn(settling))
        });
    }
}

/// What requests took and the server does not know yet: one entry a key at most.
#[derive(Debug, Default)]
struct Owed {
    debts: Mutex<HashMap<String, (u32, i64)>>,
    told: Notify,
}

impl Owed {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (u32, i64)>> {
        self.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn settle_owed(server: Arc<Server>, owed: Arc<Owed>) {
    loop {
        owed.told.notified().await;
        let debts = std::mem::take(&mut *owed.lock());
        for (key, (limit, cost)) in debts {
            // What the server does not hear now it need not hear later: by then most of it would have leaked.
            let _ = server.count(&key, limit, cost, How::Settle).await;
        }
    }
}

/// How a cost is counted.
#[derive(Debug, Clone, Copy)]
enum How {
    Take,
    Settle,
}

struct Server {
    client: Client,
    timeout: Duration,
    script: Script,
    /// Made by the first request: it wants a runtime.
    connection: OnceLock<Option<ConnectionManager>>,
    health: Mutex<Health>,
}

#[derive(Debug, Clone, Copy)]
enum Health {
    Up,
    /// Not to be asked before this time.
    Away {
        until: Instant,
    },
}

impl Server {
    async fn count(&self, key: &str, limit: u32, cost: i64, how: How) -> Result<Told, Away> {
        if !self.may_be_asked(Instant::now()) {
            return Err(Away);
        }
        match timeout(self.timeout, self.ask(key, limit, cost, how)).await {
            Ok(Ok(told)) => {
                self.came_back();
                Ok(told)
            }
            Ok(Err(error)) => Err(self.failed(error.category())),
            Err(_) => Err(self.failed("no answer in time")),
        }
    }

    /// Runs the script; once more where the connection turned out to be lost, which makes a new one.
    async fn ask(&self, key: &str, limit: u32, cost: i64, how: How) -> Result<Told, RedisError> {
        let how = match how {
            How::Take => "take",
            How::Settle => "settle",
        };
        let mut call = self.script.prepare_invoke();
        call.key(key).arg(limit).arg(cost).arg(how);
        let mut connection = self.connection()?;
        let answer = match call.invoke_async(&mut connection).await {
            Err(error) if error.is_io_error() || error.is_unrecoverable_error() => {
                call.invoke_async(&mut connection).await
            }
            answer => answer,
        };
        let (counted, used, wait): (u8, u64, u64) = answer?;
        Ok(Told {
            used,
            wait: (counted == 0).then(|| Duration::from_micros(wait)),
        })
    }

    fn connection(&self) -> Result<ConnectionManager, RedisError> {
        let connection = self.connection.get_or_init(|| {
            let config = ConnectionManagerConfig::new()
                .set_connection_timeout(Some(CONNECT))
                .set_response_timeout(Some(self.timeout))
                // The next request tries again, and where there is none, nobody needs to.
                .set_number_of_retries(0);
            ConnectionManager::new_lazy_with_config(self.client.clone(), config).ok()
        });
        let unusable = || RedisError::from((redis::ErrorKind::Client, "no connection manager"));
        connection.clone().ok_or_else(unusable)
    }

    /// Whether the server may be asked now. While it is away, one request in each pause may, and so finds out whether it is back.
    fn may_be_asked(&self, now: Instant) -> bool {
        let mut health = self.health();
        match *health {
            Health::Up => true,
            Health::Away { until } if now < until => false,
            Health::Away { .. } => {
                *health = Health::Away { until: now + PAUSE };
                true
            }
        }
    }

    fn came_back(&self) {
        let before = std::mem::replace(&mut *self.health(), Health::Up);
        if matches!(before, Health::Away { .. }) {
            info!("limits of keys are shared with other gateways again");
        }
    }

    fn failed(&self, why: &str) -> Away {
        let until = Instant::now() + PAUSE;
        let before = std::mem::replace(&mut *self.health(), Health::Away { until });
        if matches!(before, Health::Up) {
            warn!(
                why,
                "the server of `limits.shared` does not answer; until it does, `on_shared_error` decides"
            );
        }
        Away
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    /// The address may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
