//! Watching a folder: what changes there is searched a moment later.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::{Error, Folder, Progress};

/// Changes come in bursts (an editor writes, renames, removes): the folder is read once they pause this long.
const PAUSE: Duration = Duration::from_millis(200);

/// A folder that never rests is read after this long all the same.
const PATIENCE: Duration = Duration::from_secs(2);

/// Network file systems tell nothing of changes, and a watch may be lost: the folder is looked at this often anyway.
const ROUND: Duration = Duration::from_secs(15);

impl Folder {
    /// Keeps the index in step with the folder until it is dropped. Reads it once at the start; a reading that fails is handed to `failed`
    /// and tried again with the next change.
    ///
    /// The future ends never; whoever owns it aborts it, at most one reading later.
    pub async fn watch(
        self: Arc<Self>,
        report: impl Fn(Progress) + Send + Sync + 'static,
        failed: impl Fn(Error) + Send + Sync + 'static,
    ) {
        let report = Arc::new(report);
        let changed = Arc::new(Notify::new());
        let mut watching = Watching::new(&changed);
        loop {
            // Watched before it is read: a change in between is then noticed, if twice.
            let (folder, report) = (Arc::clone(&self), Arc::clone(&report));
            let read = tokio::task::spawn_blocking(move || {
                watching.renew(&folder);
                let synced = folder.sync(&*report);
                // A link that came with this reading may have changed its target since.
                let again = watching.renew(&folder);
                (watching, synced, again)
            });
            let mut again = false;
            match read.await {
                Ok((kept, synced, new)) => {
                    watching = kept;
                    again = new;
                    synced.unwrap_or_else(&failed);
                }
                Err(source) => {
                    watching = Watching::new(&changed);
                    failed(Error::Died { source });
                }
            }
            if again || timeout(ROUND, changed.notified()).await.is_ok() {
                settle(&changed).await;
            }
        }
    }
}

/// Waits until changes pause.
async fn settle(changed: &Notify) {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        tokio::select! {
            () = sleep(PAUSE) => return,
            () = changed.notified() => {}
        }
    }
}

/// What the system tells us of, as far as it can.
struct Watching {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Watching {
    fn new(changed: &Arc<Notify>) -> Self {
        let changed = Arc::clone(changed);
        // Where the system has no means left (inotify instances are counted), the rounds still find every change.
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| event.kind.is_access()) {
                return;
            }
            changed.notify_one();
        });
        Self {
            watcher: watcher.ok(),
            watched: BTreeSet::new(),
        }
    }

    /// Watches the folder and every directory that links in it lead to, and no other any more; tells whether one is new.
    fn renew(&mut self, folder: &Folder) -> bool {
        let (Some(watcher), Ok(root)) = (&mut self.watcher, folder.root().canonicalize()) else {
            return false;
        };
        let mut wanted = folder.outside();
        wanted.insert(root.clone());
        let old: Vec<PathBuf> = self.watched.difference(&wanted).cloned().collect();
        for path in old {
            // It may be gone, and its watch with it.
            let _gone = watcher.unwatch(&path);
            self.watched.remove(&path);
        }
        let mut new = false;
        for path in wanted {
            let mode = if path == root {
                RecursiveMode::Recursive
            } else {
                RecursiveMode::NonRecursive
            };
            if !self.watched.contains(&path) && watcher.watch(&path, mode).is_ok() {
                self.watched.insert(path);
                new = true;
            }
        }
        new
    }
}
