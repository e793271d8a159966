//! A timer for what is looked at far more often than it is due: deadlines between the events of a stream, heartbeats.
//!
//! tokio's own timer takes some sixty nanoseconds for each look, and a lock for each change of its time. A stream looks with every event
//! and moves its deadlines as often. So the time is kept here, and tokio's timer is touched only when it fires, or fires too late.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that can be moved for next to nothing.
#[derive(Debug)]
pub struct Alarm {
    due: Instant,
    sleep: Pin<Box<Sleep>>,
    /// Whom the timer wakes.
    waker: Option<Waker>,
}

impl Alarm {
    /// An alarm that is due at that time.
    pub fn new(due: Instant) -> Self {
        Self {
            due,
            sleep: Box::pin(sleep_until(due)),
            waker: None,
        }
    }

    /// Moves it to another time, which holds from the next look on.
    pub fn set(&mut self, due: Instant) {
        self.due = due;
    }

    /// Whether it is due at `now`, which must be the present time; if not, the task is woken when it is.
    pub fn poll(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if now >= self.due {
            return Poll::Ready(());
        }
        if self.sleep.deadline() > self.due {
            self.sleep.as_mut().reset(self.due);
            self.waker = None;
        }
        let is_set = self.waker.as_ref();
        if is_set.is_some_and(|waker| waker.will_wake(cx.waker())) && now < self.sleep.deadline() {
            return Poll::Pending;
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            // It fired at a time that was moved since.
            self.sleep.as_mut().reset(self.due);
            if Instant::now() >= self.due {
                return Poll::Ready(());
            }
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(20);

    async fn due(alarm: &mut Alarm) -> Instant {
        poll_fn(|cx| alarm.poll(Instant::now(), cx)).await;
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
            alarm.poll(Instant::now(), cx)
        })
        .await;
        assert!(Instant::now() >= end);
        assert!(looks <= 4, "{looks} looks");
    }

    #[tokio::test]
    async fn moved_to_earlier_it_is_due_earlier() {
        let begun = Instant::now();
        let mut alarm = Alarm::new(begun + Duration::from_secs(3600));
        let looked = poll_fn(|cx| Poll::Ready(alarm.poll(Instant::now(), cx))).await;
        assert!(looked.is_pending());

        alarm.set(begun + MOMENT);
        assert!(due(&mut alarm).await >= begun + MOMENT);
    }

    #[tokio::test]
    async fn another_task_that_looks_is_woken_too() {
        let end = Instant::now() + MOMENT;
        let mut alarm = Alarm::new(end);
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(alarm.poll(Instant::now(), &mut nobody).is_pending());

        assert!(due(&mut alarm).await >= end);
    }
}
