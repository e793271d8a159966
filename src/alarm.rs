//! What is looked at far more often than it happens: deadlines between the events of a stream, heartbeats, the end of the process.
//!
//! tokio's own timer takes some sixty nanoseconds for each look and a lock for each change of its time, a cancellation as much. A stream looks
//! with every event and moves its deadlines as often. So both are asked once who is to be woken, and after that only whether they happened:
//! an alarm by a look at the clock, because its timer lies elsewhere in memory and, among a thousand streams, in none of the caches.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A timer that can be moved for next to nothing.
#[derive(Debug)]
pub struct Alarm {
    due: Instant,
    /// When `sleep` wakes whoever is registered.
    armed: Instant,
    sleep: Pin<Box<Sleep>>,
    waker: Registered,
}

impl Alarm {
    /// An alarm that is due at that time.
    pub fn new(due: Instant) -> Self {
        Self {
            due,
            armed: due,
            sleep: Box::pin(sleep_until(due)),
            waker: Registered::default(),
        }
    }

    /// Moves it to another time, which holds from the next look on.
    pub fn set(&mut self, due: Instant) {
        self.due = due;
    }

    /// Whether it is due; if not, the task is woken when it is.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_at(Instant::now(), cx)
    }

    /// The same for who has just looked at the clock.
    pub fn poll_at(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        // Too early it only fires in vain; too late it has to be told.
        if self.armed > self.due {
            self.arm();
            self.waker = Registered::default();
        }
        if now < self.armed && self.waker.is(cx) {
            return Poll::Pending;
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= self.due {
                return Poll::Ready(());
            }
            self.arm();
        }
        self.waker.set(cx);
        Poll::Pending
    }

    fn arm(&mut self) {
        self.sleep.as_mut().reset(self.due);
        self.armed = self.due;
    }
}

/// The end of something, looked at with everything that comes before it.
#[derive(Debug)]
pub struct Halt {
    token: CancellationToken,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    waker: Registered,
}

impl Halt {
    /// Waits for `token` to be cancelled.
    pub fn new(token: CancellationToken) -> Self {
        Self {
            cancelled: Box::pin(token.clone().cancelled_owned()),
            token,
            waker: Registered::default(),
        }
    }

    /// Whether it has come; if not, the task is woken when it does.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.token.is_cancelled() {
            return Poll::Ready(());
        }
        if self.waker.is(cx) {
            return Poll::Pending;
        }
        self.waker.set(cx);
        self.cancelled.as_mut().poll(cx)
    }
}

/// Whom something wakes already.
#[derive(Debug, Default)]
struct Registered(Option<Waker>);

impl Registered {
    fn is(&self, cx: &Context<'_>) -> bool {
        let waker = self.0.as_ref();
        waker.is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    fn set(&mut self, cx: &Context<'_>) {
        self.0 = Some(cx.waker().clone());
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(20);

    async fn due(alarm: &mut Alarm) -> Instant {
        poll_fn(|cx| alarm.poll(cx)).await;
        Instant::now()
    }

    #[tokio::test]
    async fn it_is_due_at_its_time_and_from_then_on() {
        let end = Instant::now() + MOMENT;
        let mut alarm = Alarm::new(end);
        assert!(due(&mut alarm).await >= end);
        assert!(due(&mut alarm).await >= end);
    }

    #[tokio::test]
    async fn moved_to_later_it_is_due_later() {
        let end = Instant::now() + 3 * MOMENT;
        let mut alarm = Alarm::new(end - 2 * MOMENT);
        let mut looks = 0;
        poll_fn(|cx| {
            looks += 1;
            alarm.set(end);
            alarm.poll(cx)
        })
        .await;
        assert!(Instant::now() >= end);
        assert!(looks <= 4, "{looks} looks");
    }

    #[tokio::test]
    async fn moved_to_earlier_it_is_due_earlier() {
        let begun = Instant::now();
        let mut alarm = Alarm::new(begun + Duration::from_secs(3600));
        let looked = poll_fn(|cx| Poll::Ready(alarm.poll(cx))).await;
        assert!(looked.is_pending());

        alarm.set(begun + MOMENT);
        assert!(due(&mut alarm).await >= begun + MOMENT);
    }

    #[tokio::test]
    async fn another_task_that_looks_is_woken_too() {
        let end = Instant::now() + MOMENT;
        let mut alarm = Alarm::new(end);
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(alarm.poll(&mut nobody).is_pending());

        assert!(due(&mut alarm).await >= end);
    }

    #[tokio::test]
    async fn a_halt_wakes_whoever_looked_last() {
        let token = CancellationToken::new();
        let mut halt = Halt::new(token.clone());
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(halt.poll(&mut nobody).is_pending());
        let halting = poll_fn(|cx| halt.poll(cx));

        tokio::join!(halting, async {
            tokio::task::yield_now().await;
            token.cancel();
        });

        assert!(halt.poll(&mut nobody).is_ready());
    }
}
