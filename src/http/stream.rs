//! The body of a streamed answer: late commit, heartbeats, and one ending.
//!
//! There is no task and no channel: the client pulls, so a slow client slows the upstream, and a client that leaves drops the whole chain down
//! to the upstream's socket. When the status had to be committed before the work was done, the same future that was raced against the timer
//! moves in here and is polled first.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::Span;

use super::error::{self, ApiError, Told};
use crate::{
    config::{self, HeartbeatKind},
    openai::{Identity, chunk::Family},
    rag::{self, Answer, Pieces, Progress, tally::Tally},
    sse::{self, Ending},
};

/// What an answer is doing.
enum Stage {
    /// The head is out, the answer is still being prepared.
    Preparing(BoxFuture<'static, Result<Answer, rag::Error>>),
    /// Pieces come.
    Speaking(Pieces),
    /// The last piece went out.
    Over,
}

/// The body of a streamed answer.
pub(super) struct StreamBody {
    stage: Stage,
    family: Family,
    model: String,
    progress: Arc<Progress>,
    heartbeat: Option<Heartbeat>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    ending: Arc<std::sync::OnceLock<Ending>>,
    span: Span,
    pulse: Pulse,
}

/// When events went out.
#[derive(Debug, Default)]
struct Pulse {
    last: Option<Instant>,
    longest: Duration,
}

impl Pulse {
    fn beat(&mut self, tally: &Tally) {
        let now = Instant::now();
        match self.last.replace(now) {
            Some(last) if now - last > self.longest => {
                self.longest = now - last;
                tally.waited(self.longest);
            }
            Some(_) => {}
            None => {
                let _ = tally.first_event.set(now.into_std());
            }
        }
    }
}

struct Heartbeat {
    every: Duration,
    kind: HeartbeatKind,
    last: Instant,
    sleep: Pin<Box<Sleep>>,
}

/// What a body needs beside its pieces.
#[derive(Debug)]
pub(super) struct Frameless {
    /// Ends the answer at the end of a drain.
    pub stop: CancellationToken,
    /// The kind of its chunks.
    pub family: Family,
    /// What the client calls the model.
    pub model: String,
    /// What it shares with the answer.
    pub progress: Arc<Progress>,
    /// Where it tells how it ended.
    pub ending: Arc<std::sync::OnceLock<Ending>>,
}

impl StreamBody {
    /// A body whose pieces are there.
    pub(super) fn speaking(pieces: Pieces, settings: &config::Stream, frame: Frameless) -> Self {
        Self::new(Stage::Speaking(pieces), settings, frame)
    }

    /// A body whose answer is still being prepared.
    pub(super) fn preparing(
        work: BoxFuture<'static, Result<Answer, rag::Error>>,
        settings: &config::Stream,
        frame: Frameless,
    ) -> Self {
        Self::new(Stage::Preparing(work), settings, frame)
    }

    fn new(stage: Stage, settings: &config::Stream, frame: Frameless) -> Self {
        let heartbeat = settings.heartbeat.map(|every| Heartbeat {
            every,
            kind: settings.heartbeat_kind,
            last: Instant::now(),
            sleep: Box::pin(tokio::time::sleep(every)),
        });
        Self {
            stage,
            family: frame.family,
            model: frame.model,
            progress: frame.progress,
            heartbeat,
            stop: Box::pin(frame.stop.cancelled_owned()),
            ending: frame.ending,
            span: Span::current(),
            pulse: Pulse::default(),
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match &mut self.stage {
                Stage::Preparing(work) => match work.poll_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(Answer::Stream(_, pieces))) => {
                        self.stage = Stage::Speaking(pieces)
                    }
                    Poll::Ready(Ok(Answer::Whole(_, bytes))) => {
                        let mut out = sse::encode::data(&bytes).to_vec();
                        out.extend_from_slice(&sse::encode::DONE);
                        return Poll::Ready(Some(self.last(Ending::Done, out.into())));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(self.fail(error))),
                },
                Stage::Speaking(pieces) => match pieces.poll_next_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(bytes))) => return Poll::Ready(Some(bytes)),
                    Poll::Ready(Some(Err(error))) => {
                        if let rag::Error::Upstream(error) = &error {
                            self.progress.tally.failed(error);
                        }
                        return Poll::Ready(Some(self.fail(error)));
                    }
                    Poll::Ready(None) => {
                        self.stage = Stage::Over;
                        let _ = self.ending.set(Ending::Done);
                    }
                },
                Stage::Over => return Poll::Ready(None),
            }
        }
    }

    fn last(&mut self, ending: Ending, bytes: Bytes) -> Bytes {
        self.stage = Stage::Over;
        let _ = self.ending.set(ending);
        bytes
    }

    fn fail(&mut self, failed: rag::Error) -> Bytes {
        let truncated = matches!(
            &failed,
            rag::Error::Upstream(crate::upstream::Error::Truncated { .. })
        );
        let cause = Told::of(&failed);
        let answer = ApiError::from(failed);
        self.span.in_scope(|| error::log(&cause, &answer));
        self.close(
            if truncated {
                Ending::Truncated
            } else {
                Ending::Failed
            },
            &answer,
        )
    }

    /// The closing event of a stream that failed: an ordinary chunk with a top-level `error`, and no `[DONE]`.
    fn close(&mut self, ending: Ending, answer: &ApiError) -> Bytes {
        let identity = self
            .progress
            .identity
            .get_or_init(|| Identity::new(self.family, &self.model))
            .clone();
        let chunk = identity.error_chunk(self.family, &answer.body);
        self.last(ending, sse::encode::data(chunk.bytes()))
    }

    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let Some(heartbeat) = &mut self.heartbeat else {
            return Poll::Pending;
        };
        loop {
            let due = heartbeat.last + heartbeat.every;
            if Instant::now() >= due {
                heartbeat.last = Instant::now();
                return Poll::Ready(match heartbeat.kind {
                    HeartbeatKind::Comment => sse::encode::comment("heartbeat"),
                    HeartbeatKind::Delta => {
                        let identity = self
                            .progress
                            .identity
                            .get_or_init(|| Identity::new(self.family, &self.model));
                        sse::encode::data(identity.empty_chunk(self.family, None).to_json().bytes())
                    }
                });
            }
            // Set again only when it fires: a piece a millisecond must not cost a timer each.
            if heartbeat.sleep.is_elapsed() {
                heartbeat.sleep.as_mut().reset(due);
            }
            if heartbeat.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        match this.poll_piece(cx) {
            Poll::Ready(Some(bytes)) => {
                // An upstream's comment is no event.
                if bytes.first() != Some(&b':') {
                    this.pulse.beat(&this.progress.tally);
                }
                if let Some(heartbeat) = &mut this.heartbeat {
                    heartbeat.last = Instant::now();
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if this.stop.as_mut().poll(cx).is_ready() => {
                let last = this.close(Ending::Failed, &ApiError::shutting_down());
                Poll::Ready(Some(Ok(Frame::data(last))))
            }
            Poll::Pending => this
                .poll_heartbeat(cx)
                .map(|bytes| Some(Ok(Frame::data(bytes)))),
        }
    }
}
