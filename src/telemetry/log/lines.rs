//! The layer that makes a line of each event, and keeps what lines say of the spans that they happen in.

use std::cell::Cell;

use tracing::{
    Event, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

use super::{
    json::{self, Members},
    number::Clock,
    queue::Queue,
    text::{Ink, Values},
};

/// How a line looks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Text(Ink),
    Json,
}

/// Makes a line of each event.
pub(super) struct Lines {
    pub(super) form: Form,
    pub(super) queue: Queue,
}

/// The fields of a span as its lines say them.
struct Fields(String);

thread_local! {
    /// The memory for the lines of this thread, and its clock.
    static LINE: Cell<(String, Clock)> = Cell::default();
}

impl<S> Layer<S> for Lines
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        let mut fields = String::with_capacity(64);
        match self.form {
            Form::Text(ink) => attributes.record(&mut Values::new(&mut fields, ink)),
            Form::Json => {
                attributes.record(&mut Members::of(&mut fields));
                if attributes.fields().len() > 1 {
                    fields = json::sorted(&fields);
                }
            }
        }
        span.extensions_mut().replace(Fields(fields));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        let mut extensions = span.extensions_mut();
        let Some(Fields(fields)) = extensions.get_mut() else {
            return;
        };
        match self.form {
            Form::Text(ink) => {
                if !fields.is_empty() {
                    fields.push(' ');
                }
                values.record(&mut Values::new(fields, ink));
            }
            Form::Json => {
                values.record(&mut Members::of(fields));
                *fields = json::sorted(fields);
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // Taken, because a value that is being written may log something itself.
        let (mut line, mut clock) = LINE.take();
        self.write(&mut line, &mut clock, event, &context);
        line.clear();
        line.shrink_to(KEPT);
        LINE.set((line, clock));
    }
}

/// The longest line whose memory a thread keeps for the next.
const KEPT: usize = 4096;

impl Lines {
    fn write<S>(
        &self,
        line: &mut String,
        clock: &mut Clock,
        event: &Event<'_>,
        context: &Context<'_, S>,
    ) where
        S: Subscriber + for<'s> LookupSpan<'s>,
    {
        let metadata = event.metadata();
        match self.form {
            Form::Text(ink) => {
                ink.head(line, *metadata.level(), |line| clock.tell(line));
                if let Some(span) = context.event_span(event) {
                    put_spans(line, ink, &span);
                    line.push(' ');
                }
                event.record(&mut Values::new(line, ink));
            }
            Form::Json => {
                json::head(line, metadata, |line| clock.tell(line));
                event.record(&mut Members::behind(line));
                match context
                    .event_span(event)
                    .or_else(|| context.lookup_current())
                {
                    Some(span) => {
                        let extensions = span.extensions();
                        let fields = extensions.get::<Fields>();
                        let fields = fields.map_or("", |Fields(fields)| fields);
                        json::tail(line, metadata, Some((span.name(), fields)));
                    }
                    None => json::tail(line, metadata, None),
                }
            }
        }
        line.push('\n');
        self.queue.put(line);
    }
}

/// The spans from the outermost to `span`.
fn put_spans<S>(line: &mut String, ink: Ink, span: &SpanRef<'_, S>)
where
    S: for<'s> LookupSpan<'s>,
{
    if let Some(parent) = span.parent() {
        put_spans(line, ink, &parent);
    }
    let extensions = span.extensions();
    let fields = extensions.get::<Fields>();
    ink.span(
        line,
        span.name(),
        fields.map_or("", |Fields(fields)| fields),
    );
}
