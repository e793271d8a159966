//! The files that a configuration is made of: the main one, the keys, the certificate. Each is read once, and a reload reads again only
//! those that changed: a key must be revocable while somebody is in the middle of editing the main file.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The largest file that is read, in bytes: thousands of keys fit, and a mistyped path (`/dev/zero`) does not fill the memory.
const LARGEST_BYTES: u64 = 16 << 20;

/// Files by path, with what stood in them; `None` for one that could not be read.
#[derive(Clone, Default)]
pub struct Contents {
    main: Option<PathBuf>,
    files: BTreeMap<PathBuf, Option<Arc<[u8]>>>,
}

impl Contents {
    /// The same files; `main` is the one that names the others, if there is one.
    pub(super) fn around(self, main: Option<&Path>) -> Self {
        Self {
            main: main.map(Path::to_path_buf),
            ..self
        }
    }

    /// Lists every file that was asked for, those that could not be read included.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// Gives the same files without those of `changed`, which will be read again.
    #[must_use]
    pub fn without(&self, changed: &[PathBuf]) -> Self {
        let mut rest = self.clone();
        rest.files.retain(|path, _| !changed.contains(path));
        rest
    }

    /// Where relative paths begin: beside the main file.
    pub(super) fn folder(&self) -> PathBuf {
        let folder = self.main.as_deref().and_then(Path::parent);
        folder.map(Path::to_path_buf).unwrap_or_default()
    }

    /// What stands in a file, from memory where it was read before.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Arc<[u8]>> {
        if let Some(Some(known)) = self.files.get(path) {
            return Ok(Arc::clone(known));
        }
        let read = read(path);
        let kept = read.as_ref().ok().map(Arc::clone);
        self.files.insert(path.to_path_buf(), kept);
        read
    }
}

fn read(path: &Path) -> io::Result<Arc<[u8]>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LARGEST_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= LARGEST_BYTES) {
        Ok(bytes.into())
    } else {
        let error = format!("it is larger than {LARGEST_BYTES} bytes");
        Err(io::Error::other(error))
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Paths only: what stands in the files is where secrets live.
        f.debug_set().entries(self.files.keys()).finish()
    }
}
