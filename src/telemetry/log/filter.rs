//! Which events and spans are told of: what `log.level` says, also after it was read again.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tracing::{
    Metadata, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{EnvFilter, Layer, layer::Context, reload};

/// An [`EnvFilter`] that is asked about spans only where its directives name some.
///
/// Levels of modules are settled once for each place that logs. Only `[span]` and `{field=value}` need to see every span come and go, and
/// would cost each request a thousand instructions for nothing.
pub(super) struct Filter<S> {
    inner: reload::Layer<EnvFilter, S>,
    sees_spans: Arc<AtomicBool>,
}

/// Changes a [`Filter`].
pub(super) struct Handle<S> {
    inner: reload::Handle<EnvFilter, S>,
    sees_spans: Arc<AtomicBool>,
}

impl<S: Subscriber> Filter<S> {
    /// A filter of these directives.
    pub(super) fn new(directives: &str) -> (Self, Handle<S>) {
        let (layer, handle) = reload::Layer::new(parse(directives));
        let sees_spans = Arc::new(AtomicBool::new(name_spans(directives)));
        let filter = Self {
            inner: layer,
            sees_spans: Arc::clone(&sees_spans),
        };
        let handle = Handle {
            inner: handle,
            sees_spans,
        };
        (filter, handle)
    }

    fn if_seen(&self, tell: impl FnOnce(&reload::Layer<EnvFilter, S>)) {
        if self.sees_spans.load(Ordering::Relaxed) {
            tell(&self.inner);
        }
    }
}

impl<S> Handle<S> {
    /// Lets the filter say what these directives do, from now on.
    pub(super) fn set(&self, directives: &str) {
        self.sees_spans
            .store(name_spans(directives), Ordering::Relaxed);
        // Fails only where the log itself is gone.
        let _ = self.inner.reload(parse(directives));
    }
}

fn parse(directives: &str) -> EnvFilter {
    EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"))
}

fn name_spans(directives: &str) -> bool {
    directives.contains(['[', '{'])
}

impl<S: Subscriber> Layer<S> for Filter<S> {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.inner.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.inner.enabled(metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.inner.max_level_hint()
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.if_seen(|inner| inner.on_new_span(attributes, id, context));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.if_seen(|inner| inner.on_record(id, values, context));
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.if_seen(|inner| inner.on_enter(id, context));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.if_seen(|inner| inner.on_exit(id, context));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.if_seen(|inner| inner.on_close(id, context));
    }
}
