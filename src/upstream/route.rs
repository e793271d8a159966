//! Where a request goes, and where it goes instead.

use std::{collections::VecDeque, sync::Arc};

use tokio::time::Instant;

use super::Upstream;
use crate::config::RagLayer;

/// Where one model is.
#[derive(Debug, Clone)]
pub struct Route {
    /// The upstream that has it.
    pub upstream: Arc<Upstream>,
    /// What that upstream calls it.
    pub model: String,
    /// Tokens that a conversation and its answer may take, where that is known.
    pub context_window: Option<u32>,
    /// Raises a smaller token limit of the client to this.
    pub min_completion_tokens: u32,
    /// The model's own settings.
    pub rag: RagLayer,
}

/// A model with what to try when it fails.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Where the request goes.
    pub route: Route,
    /// Where it goes when that fails, in turn.
    pub fallbacks: Vec<Route>,
}

impl Resolved {
    /// The routes in the order in which they are asked: those of upstreams that are set aside come last, but for one that is to be tried.
    pub fn in_turn(&self) -> VecDeque<&Route> {
        let mut turn = VecDeque::with_capacity(1 + self.fallbacks.len());
        let mut aside = Vec::new();
        for route in std::iter::once(&self.route).chain(&self.fallbacks) {
            let health = &route.upstream.health;
            // Only a request that goes there first can try one: it is not held back for a route that may never be asked.
            let open = if turn.is_empty() {
                health.admits(Instant::now())
            } else {
                !health.is_set_aside()
            };
            if open {
                turn.push_back(route);
            } else {
                aside.push(route);
            }
        }
        turn.extend(aside);
        turn
    }
}
