//! Streamed answers in mode `tool`: text and thinking go out as they come, whatever the turn turns out to be.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};

use super::{
    search::Planned,
    session::{Session, Step},
    voice::Voice,
};
use crate::{
    openai::chunk::Family,
    rag::{Answer, Error, Job, Meta, Pieces, Pipeline, event_chunk, meta},
    upstream::{self, Client, EventStream, client::Call as Request},
};

/// Answers a request. Returns when the first piece that goes to the client is there, so that what fails before it still has a status.
pub(in crate::rag) async fn answer(pipeline: Arc<Pipeline>, job: Job) -> Result<Answer, Error> {
    let told = Arc::new(Mutex::new(Meta::default()));
    let mut pieces = pieces(Session::new(pipeline, job), Arc::clone(&told));
    let first = pieces.next().await.transpose()?;
    let meta = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let first = futures_util::stream::iter(first.map(Ok));
    Ok(Answer::Stream(meta, first.chain(pieces).boxed()))
}

fn pieces(mut session: Session, told: Arc<Mutex<Meta>>) -> Pieces {
    async_stream::try_stream! {
        let request = &session.job.request;
        let mut voice = Voice::new(Arc::clone(&session.job.progress), &request.model, request.include_usage);
        loop {
            session.prepare();
            let pipeline = Arc::clone(&session.pipeline);
            let opened = pipeline.deliver(&session.job, open).await;
            let ((head, mut events), route) = match opened.map(|(opened, route)| (opened, route.clone())) {
                Ok(opened) => opened,
                Err(error) if session.may_ask_otherwise(&error) => continue,
                Err(error) => Err(error)?,
            };
            session.stay_with(&route);
            session.timings.upstream = Some(session.timings.upstream.unwrap_or_default() + head.latency);
            session.job.progress.tally.answered(route.upstream.name(), session.timings);
            voice.begin(&route);
            *told.lock().unwrap_or_else(PoisonError::into_inner) = meta(&route, head, session.timings);

            while let Some(event) = events.next().await {
                let event = match event {
                    Ok(event) => event,
                    // Behind its finish a turn is whole, however its stream ends.
                    Err(error) if error.is_silence() && voice.has_finished() => break,
                    Err(error) => Err(error)?,
                };
                for piece in voice.event(event)? {
                    yield piece;
                }
                if voice.is_done() {
                    break;
                }
            }
            drain(events);
            let (turn, rest) = voice.finish_turn()?;
            if let Some(piece) = rest {
                yield piece;
            }
            let (kept, planned, clients) = match session.conclude(turn)? {
                Step::Again => continue,
                Step::Answer(kept, planned) => (kept, planned, Vec::new()),
                Step::Client(kept, planned, clients) => (kept, planned, clients),
                Step::Done => {
                    for piece in voice.last(&session, &[]) {
                        yield piece;
                    }
                    return;
                }
            };
            let planned = session.within_limit(planned).await;
            let tells = session.job.options.events;
            for event in planned.iter().filter(|_| tells).filter_map(Planned::event) {
                yield event_chunk(Family::Chat, &voice.identity(), &event);
            }
            let ran = session.run(kept, planned).await?;
            for ran in ran.iter().filter(|_| tells) {
                yield event_chunk(Family::Chat, &voice.identity(), &ran.event());
            }
            if !clients.is_empty() {
                session.keep(&clients);
                for piece in voice.last(&session, &clients) {
                    yield piece;
                }
                return;
            }
        }
    }
    .boxed()
}

type Opened = Result<(upstream::Head, EventStream), upstream::Error>;

fn open<'a>(client: &'a Client, request: &'a Request) -> BoxFuture<'a, Opened> {
    Box::pin(client.stream(request))
}

/// A turn is over with `[DONE]`; its connection is given up rather than waited for when the end of the body is not there yet.
fn drain(mut events: EventStream) {
    while let Some(Some(Ok(_))) = events.next().now_or_never() {}
}
