//! The life of one configuration: the real gateway between its neighbours, asked a few hundred times, reloaded in between.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use axum::{Router, body::Body};
use futures_util::future::join_all;
use groundwire::{
    app::App,
    config::{Config, Environment},
    http::Parts,
};
use http::Request;
use http_body_util::BodyExt;
use memchr::memmem;
use tower::ServiceExt;
use tracing_subscriber::EnvFilter;

use crate::{
    Seen,
    asker::Asker,
    asking::{Ask, Kind, Presented},
    judge::{Group, Outcome},
    lighton::{LightOn, Manner},
    log::Log,
    memory::{Memory, forge, returned},
    model::Provider,
    oracle::{self, Verdict},
    support::{reply::Reply, server::Server},
    tenants::Setup,
    traces, watch,
    world::{Marker, World},
};

/// Lives through `cases` requests of the configuration that `seed` makes; tells what was seen, or what went wrong.
pub(crate) async fn live(seed: u64, first: u64, cases: u64) -> Result<Seen, String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let world = World::random(&mut rng);
    let setup = Setup::random(&mut rng);
    let log = Log::default();
    let filter = if rng.u8(..16) == 0 {
        "trace"
    } else {
        "groundwire=trace"
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let lighton = Arc::new(Mutex::new(LightOn::new(world.clone(), rng.fork())));
    let provider = Arc::new(Mutex::new(Provider::default()));
    let answering = Arc::clone(&lighton);
    let search = Server::improvising(move |request| lock(&answering).answer(request));
    let answering = Arc::clone(&provider);
    let models = Server::improvising(move |request| lock(&answering).answer(request));

    let exports = Arc::new(Mutex::new(Vec::new()));
    let taking = Arc::clone(&exports);
    // What the numbers tell is looked at where they are asked for.
    let collector = Server::improvising(move |request| {
        if request.path == "/v1/traces" {
            lock(&taking).push(request.body.clone());
        }
        Reply::body("application/x-protobuf", "")
    });
    let is_traced = rng.u8(..3) == 0;
    let neighbours = Neighbours {
        search: search.url(),
        models: models.url(),
        collector: is_traced.then(|| collector.url()),
    };

    let app = App::build(neighbours.config(&setup)?).map_err(|error| error.to_string())?;
    let parts: Parts = Arc::new(ArcSwap::from_pointee(app));
    let exporter = App::export(&parts);
    let mut life = Life {
        router: watch::router(Arc::clone(&parts)),
        parts,
        setup,
        world,
        rng,
        log,
        lighton,
        provider,
        memory: Memory::default(),
        before: Vec::new(),
        verdicts: HashMap::new(),
        seen: Seen::new(),
        case: first,
    };
    while life.case < first + cases {
        let group = life.group();
        let told = group.clone();
        if let Err(wrong) = life.run(group).await {
            return Err(format!(
                "{wrong}\n\nasked: {told:#?}\n\nconfiguration:\n{}",
                life.setup.file("", "", None)
            ));
        }
        if life.rng.u8(..100) == 0 {
            life.check_numbers().await?;
            let next = life.setup.changed(&mut life.rng);
            let app = life.parts.load().rebuild(neighbours.config(&next)?);
            life.parts
                .store(Arc::new(app.map_err(|error| error.to_string())?));
            life.setup = next;
            life.count("reloads", 1);
        }
    }
    life.check_numbers().await?;
    exporter.finish().await;
    let spans = traces::check(&lock(&exports), &life.verdicts)?;
    life.count("spans of traces", spans);
    Ok(life.seen)
}

/// Where the gateway's neighbours are.
struct Neighbours {
    search: String,
    models: String,
    collector: Option<String>,
}

impl Neighbours {
    fn config(&self, setup: &Setup) -> Result<Config, String> {
        let text = setup.file(&self.search, &self.models, self.collector.as_deref());
        let config = Config::parse(&text, &Environment::default());
        config.map_err(|problems| format!("{problems}\n{text}"))
    }
}

struct Life {
    router: Router,
    parts: Parts,
    setup: Setup,
    world: World,
    rng: fastrand::Rng,
    log: Log,
    lighton: Arc<Mutex<LightOn>>,
    provider: Arc<Mutex<Provider>>,
    memory: Memory,
    /// The last ones that named files: what a request asks for that failed early may come late.
    before: Vec<Outcome>,
    /// What became of each request.
    verdicts: HashMap<u64, Verdict>,
    seen: Seen,
    case: u64,
}

impl Life {
    /// The next requests, which are made at once.
    fn group(&mut self) -> Vec<Ask> {
        let case = self.case;
        let mut asker = Asker {
            setup: &self.setup,
            rng: &mut self.rng,
            questions: &mut self.memory.questions,
        };
        let key = asker.somebody();
        let kind = match asker.rng.u8(..100) {
            0..12 => {
                // Tenants who ask the same at the same moment.
                let question = asker.question(case);
                let chat = asker.chat(key, &question);
                let count = asker.rng.u64(2..5);
                return (case..case + count)
                    .map(|case| {
                        let key = asker.somebody();
                        let mut chat = chat.clone();
                        if asker.rng.bool() {
                            chat.model = asker.chat(key, &question).model;
                        }
                        Ask {
                            case,
                            key,
                            kind: Kind::Chat(chat),
                        }
                    })
                    .collect();
            }
            12..15 => {
                let question = asker.question(case);
                let lookup = asker.lookup(key, &question);
                return (case..case + 3)
                    .map(|case| Ask {
                        case,
                        key: asker.somebody(),
                        kind: Kind::Lookup(lookup.clone()),
                    })
                    .collect();
            }
            15..25 => match asker.old_question() {
                Some(question) => Kind::Chat(asker.chat(key, &question)),
                None => Kind::Embeddings,
            },
            25..33 if !self.memory.pending.is_empty() => {
                let at = asker.rng.usize(..self.memory.pending.len());
                let pending = &self.memory.pending[at];
                let (key, chat) = returned(pending, &mut asker);
                return vec![Ask {
                    case,
                    key,
                    kind: Kind::Chat(chat),
                }];
            }
            33..44 => {
                let question = match asker.rng.bool() {
                    true => asker.question(case),
                    false => asker
                        .old_question()
                        .unwrap_or_else(|| "retention".to_owned()),
                };
                Kind::Lookup(asker.lookup(key, &question))
            }
            44..50 => Kind::File {
                method: if asker.rng.u8(..4) == 0 {
                    "DELETE"
                } else {
                    "GET"
                },
                id: asker.file_name(key),
                content: asker.rng.u8(..3) == 0,
            },
            50..53 => Kind::Upload(asker.form(key)),
            53..55 => Kind::Source(asker.file_name(key)),
            55..58 if !self.memory.links.is_empty() => {
                let link = self.memory.links[asker.rng.usize(..self.memory.links.len())].clone();
                let (link, forged) = forge(link, asker.rng);
                let key = if asker.rng.bool() {
                    Presented::None
                } else {
                    key
                };
                return vec![Ask {
                    case,
                    key,
                    kind: Kind::Opened { link, forged },
                }];
            }
            58..61 => {
                let path = match asker.rng.u8(..6) {
                    0 => "/v1/files".to_owned(),
                    1 => "/v1/files?limit=2&order=asc".to_owned(),
                    2 => "/v1/vector_stores".to_owned(),
                    3 | 4 => format!("/v1/vector_stores/{}", asker.store(key)),
                    _ => "/v1/models".to_owned(),
                };
                Kind::Get(path)
            }
            61 => Kind::Embeddings,
            _ => {
                let question = asker.question(case);
                Kind::Chat(asker.chat(key, &question))
            }
        };
        vec![Ask { case, key, kind }]
    }

    /// Makes the requests, and looks at everything that became of them.
    async fn run(&mut self, group: Vec<Ask>) -> Result<(), String> {
        let manner = match self.rng.u8(..20) {
            0 => Manner::Failing,
            1..11 => Manner::Leaky,
            _ => Manner::Honest,
        };
        lock(&self.lighton).manner = manner;
        for ask in &group {
            if let Kind::Chat(chat) = &ask.kind {
                lock(&self.provider)
                    .scripts
                    .insert(ask.case, chat.script.clone());
            }
        }
        self.case += u64::try_from(group.len()).unwrap_or_default();
        let asking = group.into_iter().map(|ask| {
            let verdict = oracle::verdict(&self.setup, &self.world, &ask);
            outcome(self.router.clone(), ask, verdict)
        });
        let outcomes = join_all(asking).await;
        let outcomes = outcomes.into_iter().collect::<Result<Vec<_>, String>>()?;

        let asked = std::mem::take(&mut lock(&self.lighton).asked);
        let heard = {
            let mut provider = lock(&self.provider);
            provider.scripts.clear();
            std::mem::take(&mut provider.heard)
        };
        let log = self.log.take();
        watch::look("the log", &log);
        let group = Group {
            outcomes: &outcomes,
            before: &self.before,
            asked: &asked,
            heard: &heard,
            log: &log,
            manner,
        };
        group.check().map_err(|wrong| {
            format!(
                "{wrong}\n\nsearch, {manner:?}, was asked: {asked:#?}\n\nreach: {:?}\nlog: {}",
                self.world.reach,
                String::from_utf8_lossy(&log)
            )
        })?;
        let together = outcomes.len();
        self.count("requests to LightOn", asked.len());
        self.count("requests to models", heard.len());
        self.count("cases", together);
        if together > 1 {
            self.count("cases at the same moment as others", together);
        }
        for heard in &heard {
            let told = Marker::all_in(&heard.body).next().is_some();
            self.count("requests to models with passages", usize::from(told));
        }
        for outcome in &outcomes {
            self.verdicts
                .insert(outcome.ask.case, outcome.verdict.clone());
            self.count_answer(outcome);
            if let Verdict::May(permit) = &outcome.verdict {
                self.memory.keep(outcome, permit, &mut self.rng)?;
            }
        }
        let named = outcomes.into_iter().filter(Outcome::names_files);
        self.before.extend(named);
        let old = self.before.len().saturating_sub(20);
        self.before.drain(..old);
        Ok(())
    }

    fn count(&mut self, what: &'static str, number: usize) {
        *self.seen.entry(what).or_default() += u64::try_from(number).unwrap_or_default();
    }

    fn count_answer(&mut self, outcome: &Outcome) {
        let body = &outcome.body;
        let holds = |text: &str| memmem::find(body, text.as_bytes()).is_some();
        let refused = matches!(outcome.verdict, Verdict::Refused);
        let is_link = matches!(outcome.ask.kind, Kind::Opened { forged: false, .. });
        for (what, seen) in [
            ("answers that refuse, rightly", refused),
            (
                "answers with passages or files",
                Marker::all_in(body).next().is_some(),
            ),
            (
                "answers from which passages were dropped",
                holds("\"reason\":\"scope\""),
            ),
            (
                "answers from the cache",
                holds("\"cached\":") && !holds("\"cached\":0"),
            ),
            (
                "answers that leave a tool to the client",
                holds("get_weather"),
            ),
            ("links opened", is_link && outcome.status == 200),
        ] {
            self.count(what, usize::from(seen));
        }
    }

    /// What operators read must show nothing of the documents.
    async fn check_numbers(&mut self) -> Result<(), String> {
        for path in ["/metrics", "/readyz", "/healthz"] {
            let request = Request::get(path)
                .body(Body::empty())
                .map_err(|error| error.to_string())?;
            let Ok(response) = self.router.clone().oneshot(request).await;
            let body = response
                .into_body()
                .collect()
                .await
                .map_err(|error| error.to_string())?
                .to_bytes();
            if Marker::all_in(&body).next().is_some() {
                return Err(format!(
                    "{path} tells of documents: {}",
                    String::from_utf8_lossy(&body)
                ));
            }
        }
        Ok(())
    }
}

async fn outcome(router: Router, ask: Ask, verdict: Verdict) -> Result<Outcome, String> {
    let request = ask.request().map_err(|error| format!("{error}: {ask:?}"))?;
    let Ok(response) = router.oneshot(request).await;
    let status = response.status().as_u16();
    let mut head = Vec::new();
    for (name, value) in response.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(value.as_bytes());
        head.push(b'\n');
    }
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| error.to_string())?;
    Ok(Outcome {
        ask,
        verdict,
        status,
        head,
        body: body.to_bytes().to_vec(),
    })
}

pub(crate) fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
