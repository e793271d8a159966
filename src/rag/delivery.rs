//! One request on its way to an upstream, whatever its endpoint: sent until it succeeds, its attempts are used up, or time is.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use tracing::warn;

use super::{Error, Meta, Pipeline, heard, meta, report::Timings, tally::Tally};
use crate::{
    openai::EmbeddingRequest,
    upstream::{
        self, Client, Resolved, Route,
        client::Call,
        retry::{Attempts, Next},
    },
};

/// Where a request goes and what goes along, but for its body, which depends on the model that is asked in the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivery<'r> {
    /// The path in the upstream's API.
    pub path: &'static str,
    /// Where the model is.
    pub resolved: &'r Resolved,
    /// What of the client's headers goes along.
    pub headers: &'r HeaderMap,
    /// The client's own `Authorization`, for upstreams that want it.
    pub authorization: Option<&'r HeaderValue>,
    /// When the request must be over.
    pub until: Instant,
    /// What the answer takes.
    pub tally: &'r Tally,
}

/// A request that is forwarded as it is.
#[derive(Debug)]
pub struct Forward {
    /// What the client asks.
    pub request: EmbeddingRequest,
    /// Where the model is.
    pub resolved: Resolved,
    /// What of the client's headers goes along.
    pub headers: HeaderMap,
    /// The client's own `Authorization`, for upstreams that want it.
    pub authorization: Option<HeaderValue>,
    /// When the request must be over.
    pub until: Instant,
    /// What the answer takes.
    pub tally: Arc<Tally>,
}

impl Delivery<'_> {
    /// The call that asks `route`.
    pub(super) fn call(&self, route: &Route, body: Bytes) -> Call {
        // A client's key was given for the upstream it named, and for no other.
        let same = Arc::ptr_eq(&route.upstream, &self.resolved.route.upstream);
        Call {
            upstream: Arc::clone(&route.upstream),
            path: self.path,
            body,
            headers: self.headers.clone(),
            authorization: self.authorization.filter(|_| same).cloned(),
            until: self.until,
        }
    }
}

impl Pipeline {
    /// Forwards a request for embeddings and gives the answer back untouched.
    pub async fn embed(&self, forward: &Forward) -> Result<(Meta, Bytes), Error> {
        let delivery = Delivery {
            path: "/embeddings",
            resolved: &forward.resolved,
            headers: &forward.headers,
            authorization: forward.authorization.as_ref(),
            until: forward.until,
            tally: &forward.tally,
        };
        let body = |route: &Route| forward.request.body(&route.model);
        let sent = self.send(delivery, body, |client, call| Box::pin(client.whole(call)));
        let ((head, answer), route) = sent.await?;
        let timings = Timings {
            search: None,
            upstream: Some(head.latency),
        };
        forward.tally.answered(route.upstream.name(), timings);
        forward.tally.used_by(&answer);
        let body = answer.to_json().bytes().clone();
        Ok((meta(route, head, timings), body))
    }

    /// Sends one request until it succeeds, its attempts are used up, or time is.
    pub(super) async fn send<'r, T>(
        &self,
        delivery: Delivery<'r>,
        body: impl Fn(&Route) -> Bytes + Send + Sync,
        send: impl for<'a> Fn(&'a Client, &'a Call) -> BoxFuture<'a, Result<T, upstream::Error>> + Send,
    ) -> Result<(T, &'r Route), Error> {
        let mut routes = delivery.resolved.in_turn();
        let planned = &delivery.resolved.route;
        let mut route = routes.pop_front().unwrap_or(planned);
        if !std::ptr::eq(route, planned) {
            delivery.tally.fell_back(planned.upstream.name());
        }
        let mut attempts = Attempts::new(&self.retry, routes.len(), delivery.until);
        let mut call = delivery.call(route, body(route));
        let mut resends = 0;
        route.upstream.budget.called();
        loop {
            delivery.tally.asks();
            let told = || heard::call(route, delivery.path, resends);
            let step = delivery.tally.steps.call(&mut call.headers, told);
            let outcome = send(&self.client, &call).await;
            route.upstream.note(&outcome, &self.retry);
            let error = match outcome {
                Ok(answer) => {
                    delivery.tally.steps.answered(step);
                    return Ok((answer, route));
                }
                Err(error) => error,
            };
            delivery.tally.unanswered();
            delivery.tally.failed(&error);
            let next = attempts.after(&error, &route.upstream);
            if attempts.was_refused() {
                warn!(
                    upstream.name = error.upstream(),
                    "the budget of retries of upstream `{}` is used up (`retry.budget`)",
                    error.upstream()
                );
                delivery.tally.retry_refused(error.upstream());
            }
            match (next, routes.front()) {
                (Next::Again(wait), _) => {
                    warn!(upstream.name = error.upstream(), error = %error, wait_ms = wait.as_millis(), "asking upstream `{}` again", error.upstream());
                    delivery.tally.retried(error.upstream());
                    resends += 1;
                    tokio::time::sleep(wait).await;
                }
                (Next::Fallback, Some(next)) => {
                    warn!(upstream.name = error.upstream(), error = %error, "falling back to upstream `{}`", next.upstream.name());
                    delivery.tally.fell_back(error.upstream());
                    route = *next;
                    routes.pop_front();
                    resends = 0;
                    call = delivery.call(route, body(route));
                    route.upstream.budget.called();
                }
                (Next::Fallback, None) | (Next::GiveUp, _) if attempts.used_up() => {
                    return Err(Error::Exhausted(error));
                }
                (Next::Fallback, None) | (Next::GiveUp, _) => return Err(error.into()),
            }
        }
    }
}
