//! The body of a streamed answer: late commit, heartbeats, and one ending.
//!
//! There is no task and no channel: the client pulls, so a slow client slows the upstream, and a client that leaves drops the whole chain down
//! to the upstream's socket. When the status had to be committed before the work was done, the same future that was raced against the timer
//! moves in here and is polled first.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use http_body::{Body, Frame};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::error::{self, ApiError, Told};
use crate::{
    alarm::{Alarm, Halt},
    config::{self, HeartbeatKind},
    openai::{Identity, chunk::Family},
    rag::{self, Answer, Pieces, Progress, tally::Tally},
    sse::{self, Ending},
};

/// What is gathered into one piece at most, in bytes.
const GATHERED: usize = 16 << 10;

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
    stop: Halt,
    ending: Arc<std::sync::OnceLock<Ending>>,
    span: Span,
    pulse: Pulse,
    /// Whether a piece came since something was waited for last.
    flows: bool,
}

/// When events went out.
#[derive(Debug, Default)]
struct Pulse {
    last: Option<Instant>,
    longest: Duration,
}

impl Pulse {
    fn beat(&mut self, now: Instant, tally: &Tally) {
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
    alarm: Alarm,
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
            alarm: Alarm::new(Instant::now() + every),
        });
        Self {
            stage,
            family: frame.family,
            model: frame.model,
            progress: frame.progress,
            heartbeat,
            stop: Halt::new(frame.stop),
            ending: frame.ending,
            span: Span::current(),
            pulse: Pulse::default(),
            flows: false,
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

    /// Adds to `first` what is ready as well: one piece is one chunk of the body, and so one write at most.
    ///
    /// Nothing waits for it. It begins only where two pieces came without a wait between them, so that a lone piece is neither copied nor
    /// held back for a look at what may follow.
    fn gather(&mut self, first: Bytes, cx: &mut Context<'_>) -> Bytes {
        let mut gathered = BytesMut::new();
        while first.len() + gathered.len() < GATHERED {
            let Poll::Ready(Some(piece)) = self.poll_piece(cx) else {
                self.flows = false;
                break;
            };
            if gathered.is_empty() {
                gathered.reserve(first.len() + 2 * piece.len());
                gathered.extend_from_slice(&first);
            }
            gathered.extend_from_slice(&piece);
        }
        if gathered.is_empty() {
            first
        } else {
            gathered.freeze()
        }
    }

    /// Notes that `piece` goes out now.
    fn send(&mut self, piece: Bytes) -> Frame<Bytes> {
        let now = Instant::now();
        // An upstream's comment is no event.
        if piece.first() != Some(&b':') {
            self.pulse.beat(now, &self.progress.tally);
        }
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.alarm.set(now + heartbeat.every);
        }
        Frame::data(piece)
    }

    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let Some(heartbeat) = &mut self.heartbeat else {
            return Poll::Pending;
        };
        ready!(heartbeat.alarm.poll(cx));
        heartbeat.alarm.set(Instant::now() + heartbeat.every);
        Poll::Ready(match heartbeat.kind {
            HeartbeatKind::Comment => sse::encode::comment("heartbeat"),
            HeartbeatKind::Delta => {
                let identity = self
                    .progress
                    .identity
                    .get_or_init(|| Identity::new(self.family, &self.model));
                sse::encode::data(identity.empty_chunk(self.family, None).to_json().bytes())
            }
        })
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
            Poll::Ready(Some(first)) => {
                let piece = if std::mem::replace(&mut this.flows, true) {
                    this.gather(first, cx)
                } else {
                    first
                };
                return Poll::Ready(Some(Ok(this.send(piece))));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => this.flows = false,
        }
        if this.stop.poll(cx).is_ready() {
            let last = this.close(Ending::Failed, &ApiError::shutting_down());
            return Poll::Ready(Some(Ok(Frame::data(last))));
        }
        this.poll_heartbeat(cx)
            .map(|bytes| Some(Ok(Frame::data(bytes))))
    }
}
