//! Lines on their way out: nobody who logs waits for whoever reads.
//!
//! A thread of its own takes all lines that wait at once and then pauses, so that it is woken some hundred times a second under load and
//! not once a line.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// How many lines wait while others are written; later ones are dropped and counted.
const MOST_LINES: usize = 8192;

/// How many bytes those may have together: a kilobyte a line, where most have a third of one.
const MOST_BYTES: usize = 8 << 20;

/// How long lines are gathered after some were written.
const PAUSE: Duration = Duration::from_millis(5);

/// The most that is written at once, in whole lines. As much goes into a pipe in one piece, whoever else writes there.
const PIECE: usize = 4096;

/// The memory that is kept while nothing waits.
const KEPT: usize = 64 << 10;

/// Where lines are put; clones share it.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Told when there is something to do for the thread that writes.
    wake: Condvar,
    /// Told when that thread is done.
    done: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: String,
    /// How many lines these are.
    lines: usize,
    /// Whether the thread waits for a line. While it writes or pauses, it looks by itself.
    sleeps: bool,
    /// Whether no more lines come.
    ends: bool,
    /// Whether nobody writes any longer.
    is_done: bool,
}

impl Queue {
    /// Lines that are written to `out` by a thread of their own.
    pub(super) fn start(out: impl io::Write + Send + 'static) -> io::Result<Self> {
        let queue = Self::default();
        let shared = Arc::clone(&queue.0);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write_all(out))?;
        Ok(queue)
    }

    /// Puts a line, which ends with its line break, behind those that wait; drops it where too many do.
    pub(super) fn put(&self, line: &str) {
        let mut state = self.0.lock();
        let bytes = state.waiting.len() + line.len();
        if state.ends || state.lines >= MOST_LINES || bytes > MOST_BYTES {
            drop(state);
            return self.0.drop_lines(1);
        }
        state.waiting.push_str(line);
        state.lines += 1;
        if std::mem::take(&mut state.sleeps) {
            drop(state);
            self.0.wake.notify_one();
        }
    }

    /// How many lines were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Lets what waits be written and nothing more come; waits for that, but no longer than `patience`.
    pub(super) fn end(&self, patience: Duration) {
        let mut state = self.0.lock();
        state.ends = true;
        self.0.wake.notify_one();
        let done = &self.0.done;
        drop(done.wait_timeout_while(state, patience, |state| !state.is_done));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_lines(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// What the thread does.
    fn write_all(&self, mut out: impl io::Write) {
        let mut taken = String::new();
        while self.take(&mut taken) {
            let mut rest = taken.as_bytes();
            while !rest.is_empty() {
                let (piece, others) = rest.split_at(end_of_piece(rest));
                if write(&mut out, piece).is_err() {
                    self.drop_lines(memchr::memchr_iter(b'\n', piece).count());
                }
                rest = others;
            }
            taken.clear();
            taken.shrink_to(KEPT);
            let state = self.lock();
            drop(
                self.wake
                    .wait_timeout_while(state, PAUSE, |state| !state.ends),
            );
        }
        self.lock().is_done = true;
        self.done.notify_all();
    }

    /// Takes the lines that wait, or waits for one; false at the end.
    fn take(&self, taken: &mut String) -> bool {
        let mut state = self.lock();
        while state.waiting.is_empty() && !state.ends {
            state.sleeps = true;
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.sleeps = false;
        state.lines = 0;
        std::mem::swap(&mut state.waiting, taken);
        !taken.is_empty()
    }
}

/// Where the first lines end that are written together.
fn end_of_piece(bytes: &[u8]) -> usize {
    let (first, rest) = bytes.split_at(bytes.len().min(PIECE));
    if rest.is_empty() {
        return bytes.len();
    }
    let end = memchr::memrchr(b'\n', first).or_else(|| memchr::memchr(b'\n', bytes));
    end.map_or(bytes.len(), |at| at + 1)
}

/// Writes all of it, also where the other end takes it piece by piece.
fn write(out: &mut impl io::Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Somebody else made the pipe one that nobody waits for.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{Receiver, Sender, channel},
        time::Instant,
    };

    use super::*;

    /// Keeps what is written, a call at a time; each waits for a word where there is somebody to give it.
    struct Reader {
        taken: Arc<Mutex<Vec<Vec<u8>>>>,
        words: Option<Receiver<()>>,
        writing: Sender<()>,
    }

    impl io::Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.writing.send(());
            if let Some(words) = &self.words {
                // Once nobody gives words any longer, all of it is taken.
                let _ = words.recv();
            }
            self.taken.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LONG: Duration = Duration::from_secs(10);

    struct Read {
        queue: Queue,
        taken: Arc<Mutex<Vec<Vec<u8>>>>,
        /// Told at each write.
        writing: Receiver<()>,
    }

    impl Read {
        fn by(words: Option<Receiver<()>>) -> Self {
            let taken = Arc::default();
            let (writing, told) = channel();
            let reader = Reader {
                taken: Arc::clone(&taken),
                words,
                writing,
            };
            Self {
                queue: Queue::start(reader).unwrap(),
                taken,
                writing: told,
            }
        }

        fn pieces(&self) -> Vec<String> {
            let taken = self.taken.lock().unwrap();
            let pieces = taken.iter().cloned().map(String::from_utf8);
            pieces.map(Result::unwrap).collect()
        }
    }

    #[test]
    fn lines_of_many_threads_leave_whole_and_in_order() {
        let read = Read::by(None);

        thread::scope(|scope| {
            for name in 0..4 {
                let queue = &read.queue;
                scope.spawn(move || {
                    for number in 0..500 {
                        queue.put(&format!("{name} {number} {}\n", "x".repeat(number % 90)));
                    }
                });
            }
        });
        read.queue.end(LONG);

        let mut next = [0; 4];
        for line in read.pieces().concat().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [name, number, rest] = words.as_slice() else {
                panic!("{line}");
            };
            let number: usize = number.parse().unwrap();
            let next = &mut next[name.parse::<usize>().unwrap()];
            assert_eq!((number, rest.len()), (*next, *next % 90));
            *next += 1;
        }
        assert_eq!(next, [500; 4]);
        assert_eq!(read.queue.dropped(), 0);
    }

    #[test]
    fn nobody_waits_for_a_slow_reader_and_what_finds_no_room_is_counted() {
        let (word, words) = channel();
        let read = Read::by(Some(words));
        read.queue.put("first\n");
        read.writing.recv().unwrap();

        for number in 1..=MOST_LINES + 10 {
            read.queue.put(&format!("{number}\n"));
        }

        assert_eq!(read.queue.dropped(), 10);
        assert!(read.pieces().is_empty());
        drop(word);
        read.queue.end(LONG);
        let text = read.pieces().concat();
        assert_eq!(text.lines().count(), 1 + MOST_LINES);
        assert_eq!(text.lines().last(), Some("8192"));
    }

    #[test]
    fn lines_wait_in_a_bounded_memory() {
        let (word, words) = channel();
        let read = Read::by(Some(words));
        let long = format!("{}\n", "x".repeat((1 << 20) - 1));
        read.queue.put("first\n");
        read.writing.recv().unwrap();

        for _ in 0..9 {
            read.queue.put(&long);
        }

        assert_eq!(read.queue.dropped(), 1);
        drop(word);
        read.queue.end(LONG);
        assert_eq!(read.pieces().concat().len(), 6 + MOST_BYTES);
    }

    #[test]
    fn many_lines_are_written_at_once_and_none_is_cut() {
        let (word, words) = channel();
        let read = Read::by(Some(words));
        read.queue.put("first\n");
        read.writing.recv().unwrap();
        let line = |number: usize| format!("{number:0100}\n");
        let long = format!("{}\n", "x".repeat(3 * PIECE));
        for number in 0..100 {
            read.queue.put(&line(number));
        }
        read.queue.put(&long);
        read.queue.put("last\n");

        drop(word);
        read.queue.end(LONG);

        let pieces = read.pieces();
        let lines: Vec<usize> = pieces.iter().map(|piece| piece.lines().count()).collect();
        assert_eq!(lines, [1, 40, 40, 20, 1, 1]);
        assert!(pieces.iter().all(|piece| piece.ends_with('\n')));
        let whole = |piece: &&String| piece.len() > PIECE;
        assert_eq!(pieces.iter().find(whole), Some(&long));
    }

    #[test]
    fn the_end_waits_no_longer_than_it_may() {
        let (word, words) = channel();
        let read = Read::by(Some(words));
        read.queue.put("never read\n");
        let began = Instant::now();

        read.queue.end(Duration::from_millis(20));

        assert!(began.elapsed() < LONG);
        read.queue.put("after the end\n");
        assert_eq!(read.queue.dropped(), 1);
        drop(word);
    }

    /// Takes a few bytes at a time, and at every second call none.
    #[derive(Clone, Default)]
    struct Narrow {
        calls: usize,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl io::Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            let error = match self.calls % 8 {
                0 => io::ErrorKind::WouldBlock,
                2 | 4 | 6 => io::ErrorKind::Interrupted,
                _ => {
                    let count = bytes.len().min(7);
                    self.taken
                        .lock()
                        .unwrap()
                        .extend_from_slice(&bytes[..count]);
                    return Ok(count);
                }
            };
            Err(error.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_is_taken_piece_by_piece_is_written_whole() {
        let out = Narrow::default();
        let queue = Queue::start(out.clone()).unwrap();

        queue.put("a line that is longer than seven bytes\n");
        queue.put("another\n");
        queue.end(LONG);

        let text = String::from_utf8(out.taken.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "a line that is longer than seven bytes\nanother\n");
        assert_eq!(queue.dropped(), 0);
    }

    struct Broken;

    impl io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_takes_are_counted_as_dropped() {
        let queue = Queue::start(Broken).unwrap();

        for _ in 0..100 {
            queue.put("lost\n");
        }
        queue.end(LONG);

        assert_eq!(queue.dropped(), 100);
    }
}
