//! Keeping under a rate, fairly: requests wait in one line for each asker, and the lines take turns.
//!
//! The rate is the generic cell rate algorithm: one number, the moment at which the next request would be due if all came evenly. Up to
//! one second's worth may go at once, and the even pace is that much slower, so that no window of sixty seconds ever holds more than the
//! limit. (`1000` a minute: sixteen at once, then one each 60.9 ms.)
//!
//! A thousand requests of one asker hold another's up for one turn, not for a thousand. Who comes is told at once where the wait would be
//! too long as things stand; who waits and is overtaken by new askers until it is too late is told then.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::retrieval::Asker;

const MINUTE: Duration = Duration::from_secs(60);

/// Lets requests go at a rate.
#[derive(Debug)]
pub(super) struct Pacer {
    interval: Duration,
    /// How far ahead of the even pace a request may be.
    burst: Duration,
    room: Mutex<Room>,
}

/// Who waits.
#[derive(Debug, Default)]
struct Room {
    /// When the next request is due at the even pace; unset: nothing was sent yet.
    due: Option<Instant>,
    /// One line for each asker who waits, none of them empty. The first of the first line is next.
    lines: VecDeque<Line>,
}

/// The requests of one asker, first come, first served.
#[derive(Debug)]
struct Line {
    asker: Asker,
    waiting: VecDeque<Arc<Notify>>,
}

impl Pacer {
    /// A pacer for that many requests in any minute; 0 counts as 1.
    pub(super) fn new(requests_per_minute: u32) -> Self {
        let limit = requests_per_minute.max(1);
        let at_once = (limit / 60).max(1);
        // A nanosecond more, because the division rounds down.
        let interval = MINUTE / (limit - (at_once - 1)) + Duration::from_nanos(1);
        Self {
            interval,
            burst: interval * (at_once - 1),
            room: Mutex::default(),
        }
    }

    /// Waits until a request of `asker` may go, or tells how long that would take, all in all or still, where it is later than `latest`.
    pub(super) async fn turn(&self, asker: Asker, latest: Instant) -> Result<(), Duration> {
        let place = self.enter(asker, Instant::now(), latest)?;
        loop {
            let now = Instant::now();
            // Who is not next has nothing to wait for but the word that it is.
            let until = match place.look(now) {
                Look::Go => return Ok(()),
                Look::At(at) => at.min(latest),
                Look::Behind => latest,
            };
            if now >= latest {
                return Err(self.interval);
            }
            let _ = timeout_at(until, place.told.notified()).await;
        }
    }

    /// Takes a place at the end of the asker's line, unless the wait for its turn is known to be too long.
    fn enter(&self, asker: Asker, now: Instant, latest: Instant) -> Result<Place<'_>, Duration> {
        let mut room = self.room();
        let ahead = u32::try_from(room.ahead_of(asker)).unwrap_or(u32::MAX);
        let wait = self.next(&room, now).saturating_duration_since(now);
        let wait = wait.saturating_add(self.interval.saturating_mul(ahead));
        if wait > latest.saturating_duration_since(now) {
            return Err(wait);
        }
        let told = Arc::new(Notify::new());
        room.join(asker, Arc::clone(&told));
        Ok(Place {
            pacer: self,
            asker,
            told,
        })
    }

    /// When the next request may go.
    fn next(&self, room: &Room, now: Instant) -> Instant {
        let due = room.due.unwrap_or(now);
        // The clock may be younger than the burst is long.
        due.checked_sub(self.burst).map_or(now, |at| at.max(now))
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        // Nothing panics while the lock is held, and the room is right at every moment.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// How many go before the next request of `asker`, as things stand: those in its line, and as many of every other.
    fn ahead_of(&self, asker: Asker) -> usize {
        let own = |line: &&Line| line.asker.is(asker);
        let own = self.lines.iter().find(own);
        let own = own.map_or(0, |line| line.waiting.len());
        let others = self.lines.iter().filter(|line| !line.asker.is(asker));
        own + others
            .map(|line| line.waiting.len().min(own + 1))
            .sum::<usize>()
    }

    /// Puts one at the end of the asker's line, which comes last of all where it is new.
    fn join(&mut self, asker: Asker, told: Arc<Notify>) {
        match self.lines.iter_mut().find(|line| line.asker.is(asker)) {
            Some(line) => line.waiting.push_back(told),
            None => self.lines.push_back(Line {
                asker,
                waiting: VecDeque::from([told]),
            }),
        }
    }

    fn first(&self) -> Option<&Arc<Notify>> {
        self.lines.front().and_then(|line| line.waiting.front())
    }

    /// Lets the first one go: the next line has the next turn.
    fn let_go(&mut self) {
        if let Some(mut line) = self.lines.pop_front() {
            line.waiting.pop_front();
            if !line.waiting.is_empty() {
                self.lines.push_back(line);
            }
        }
    }

    /// Takes one out who waits no longer, wherever it stands.
    fn leave(&mut self, asker: Asker, told: &Arc<Notify>) {
        for line in self.lines.iter_mut().filter(|line| line.asker.is(asker)) {
            line.waiting.retain(|waiting| !Arc::ptr_eq(waiting, told));
        }
        self.lines.retain(|line| !line.waiting.is_empty());
    }

    /// Tells the first one that it is.
    fn tell_first(&self) {
        if let Some(first) = self.first() {
            first.notify_one();
        }
    }
}

/// What one who waits sees.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// It may go, and has.
    Go,
    /// It is next, at that moment.
    At(Instant),
    /// Others go first.
    Behind,
}

/// A place in a line; it is given up when it is dropped.
#[derive(Debug)]
struct Place<'a> {
    pacer: &'a Pacer,
    asker: Asker,
    told: Arc<Notify>,
}

impl Place<'_> {
    /// Goes, if it may.
    fn look(&self, now: Instant) -> Look {
        let mut room = self.pacer.room();
        if !room
            .first()
            .is_some_and(|first| Arc::ptr_eq(first, &self.told))
        {
            return Look::Behind;
        }
        let at = self.pacer.next(&room, now);
        if at > now {
            return Look::At(at);
        }
        let due = room.due.map_or(now, |due| due.max(now));
        room.due = Some(due + self.pacer.interval);
        room.let_go();
        room.tell_first();
        Look::Go
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut room = self.pacer.room();
        room.leave(self.asker, &self.told);
        room.tell_first();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAR: Duration = Duration::from_secs(1_000_000);

    fn asker(name: &str) -> Asker {
        Asker::of(name)
    }

    /// A place of the asker called `name`, however long its turn takes to come.
    fn enter<'a>(pacer: &'a Pacer, name: &str, now: Instant) -> Place<'a> {
        pacer.enter(asker(name), now, now + FAR).unwrap()
    }

    /// Lets everybody go whose turn comes, and gives who went when, in milliseconds from `now`.
    fn let_all_go(
        places: Vec<(&'static str, Place<'_>)>,
        now: Instant,
    ) -> Vec<(&'static str, u128)> {
        let (mut places, mut at, mut gone) = (places, now, Vec::new());
        while !places.is_empty() {
            let went = places
                .iter()
                .position(|(_, place)| place.look(at) == Look::Go);
            if let Some(went) = went {
                gone.push((places.remove(went).0, (at - now).as_millis()));
                continue;
            }
            let next = places.iter().find_map(|(_, place)| match place.look(at) {
                Look::At(at) => Some(at),
                Look::Go | Look::Behind => None,
            });
            at = next.expect("somebody is next");
        }
        gone
    }

    #[test]
    fn a_second_of_requests_goes_at_once_and_the_rest_evenly() {
        let (pacer, now) = (Pacer::new(120), Instant::now());
        let places = (0..4).map(|_| ("a", enter(&pacer, "a", now))).collect();

        // Two at once, then 119 a minute.
        let gone = let_all_go(places, now);
        assert_eq!(gone, [("a", 0), ("a", 0), ("a", 504), ("a", 1008)]);
    }

    #[test]
    fn a_slow_pace_has_no_burst() {
        let (pacer, now) = (Pacer::new(1), Instant::now());
        let places = (0..2).map(|_| ("a", enter(&pacer, "a", now))).collect();
        assert_eq!(let_all_go(places, now), [("a", 0), ("a", 60_000)]);

        assert_eq!(enter(&pacer, "a", now + FAR).look(now + FAR), Look::Go);
    }

    #[test]
    fn a_thousand_of_one_asker_hold_another_up_for_one_turn() {
        let (pacer, now) = (Pacer::new(60), Instant::now());
        let mut places: Vec<_> = (0..1000).map(|_| ("a", enter(&pacer, "a", now))).collect();
        for name in ["b", "c", "b"] {
            places.push((name, enter(&pacer, name, now)));
        }

        let order: Vec<&str> = let_all_go(places, now).iter().map(|gone| gone.0).collect();

        assert_eq!(order[..7], ["a", "b", "c", "a", "b", "a", "a"]);
    }

    #[test]
    fn requests_of_one_asker_go_in_the_order_in_which_they_came() {
        let (pacer, now) = (Pacer::new(60), Instant::now());
        let (first, second) = (enter(&pacer, "a", now), enter(&pacer, "a", now));

        assert_eq!(second.look(now), Look::Behind);
        assert_eq!(first.look(now), Look::Go);
        assert_eq!(second.look(now), Look::At(now + pacer.interval));
    }

    #[test]
    fn a_wait_past_the_deadline_is_refused_at_once_and_costs_nothing() {
        let (pacer, now) = (Pacer::new(60), Instant::now());
        assert_eq!(enter(&pacer, "a", now).look(now), Look::Go);
        let _waiting: Vec<_> = (0..5).map(|_| enter(&pacer, "a", now)).collect();

        let latest = now + Duration::from_millis(2500);
        let refused = pacer.enter(asker("a"), now, latest).unwrap_err();

        assert_eq!(refused.as_millis(), 6000);
        assert!(
            pacer.enter(asker("b"), now, latest).is_ok(),
            "another asker's turn comes after one of theirs"
        );
        let refused = pacer.enter(asker("a"), now, latest).unwrap_err();
        assert_eq!(refused.as_millis(), 6000);
    }

    #[test]
    fn one_that_leaves_holds_nobody_up() {
        let (pacer, now) = (Pacer::new(60), Instant::now());
        assert_eq!(enter(&pacer, "a", now).look(now), Look::Go);
        let leaves = enter(&pacer, "a", now);
        let stays = enter(&pacer, "b", now);
        assert_eq!(stays.look(now), Look::Behind);

        drop(leaves);

        assert_eq!(stays.look(now), Look::At(now + pacer.interval));
    }

    #[tokio::test]
    async fn the_next_is_told_when_the_first_leaves() {
        let pacer = Pacer::new(60 * 60);
        let now = Instant::now();
        let first = enter(&pacer, "a", now);
        let second = pacer.turn(asker("b"), now + FAR);
        tokio::pin!(second);
        assert!(futures_util::poll!(second.as_mut()).is_pending());

        drop(first);

        tokio::time::timeout(Duration::from_secs(20), second)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn one_that_is_held_up_until_it_is_too_late_is_told_so() {
        // Two a second: the turn seems to come in time, but the one before it does not go.
        let (pacer, now) = (Pacer::new(119), Instant::now());
        let _stays = enter(&pacer, "a", now);

        let turn = pacer.turn(asker("b"), now + Duration::from_millis(700));

        let refused = tokio::time::timeout(Duration::from_secs(20), turn).await;
        assert_eq!(refused.unwrap(), Err(pacer.interval));
    }

    proptest! {
        #[test]
        fn no_minute_ever_holds_more_than_the_limit(
            limit in 1_u32..400,
            steps in prop::collection::vec((0_u64..3000, 0_usize..4, any::<bool>()), 1..400),
        ) {
            let pacer = Pacer::new(limit);
            let mut now = Instant::now();
            let (mut sent, mut waiting) = (Vec::new(), Vec::new());
            for (milliseconds, name, leaves) in steps {
                now += Duration::from_millis(milliseconds) / 10;
                waiting.push(enter(&pacer, ["a", "b", "c", "d"][name], now));
                if leaves {
                    waiting.remove(name.min(waiting.len() - 1));
                }
                waiting.retain(|place| {
                    let goes = place.look(now) == Look::Go;
                    sent.extend(goes.then_some(now));
                    !goes
                });
            }
            for window in sent.windows(limit as usize + 1) {
                let span = *window.last().unwrap() - *window.first().unwrap();
                prop_assert!(span >= MINUTE, "{} requests within {span:?}", window.len());
            }
        }
    }
}
