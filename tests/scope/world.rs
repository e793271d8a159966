//! The documents that the fake LightOn has: some workspaces, files in them, and a marker in every text that tells where it comes from.
//!
//! A marker names its workspace, the search key that it was found with and the scope that was searched, in letters and digits alone, so that
//! it survives JSON, headers and links unchanged: whatever comes out of the gateway is searched for markers, and each must be the caller's.

use std::{collections::BTreeSet, sync::LazyLock};

use memchr::memmem::Finder;

/// The workspaces' numbers: some that look like each other, and two that are one number to whoever reads them as floats.
pub(crate) const WORKSPACES: [i64; 8] = [
    1,
    11,
    12,
    42,
    420,
    4_294_967_338,
    9_007_199_254_740_992,
    9_007_199_254_740_993,
];

/// How many files each workspace has.
pub(crate) const FILES: i64 = 3;

/// A file of which the service does not tell where it lives.
pub(crate) const HOMELESS: i64 = 9901;

/// How many keys for search there are: the gateway's own is the first.
pub(crate) const SEARCH_KEYS: usize = 3;

/// Which workspaces each key for search reaches.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) reach: [BTreeSet<i64>; SEARCH_KEYS],
}

/// What a text of the world says of where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marker {
    /// Its workspace, where it has one.
    pub(crate) workspace: Option<i64>,
    /// The search key that it was found with.
    pub(crate) key: usize,
    pub(crate) by: By,
}

/// How a text was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// By a search in these workspaces, one bit each.
    Scope(u8),
    /// By a search without any scope.
    Everywhere,
    /// By a search in files.
    Files,
    /// As a file or a workspace.
    Name,
}

/// Where a file lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    In(i64),
    Untold,
    NoFile,
}

impl World {
    pub(crate) fn random(rng: &mut fastrand::Rng) -> Self {
        let mut reach = || {
            let all: BTreeSet<i64> = WORKSPACES.into();
            if rng.bool() {
                return all;
            }
            let one = WORKSPACES[rng.usize(..WORKSPACES.len())];
            let mut some: BTreeSet<i64> = all.into_iter().filter(|_| rng.bool()).collect();
            some.insert(one);
            some
        };
        Self {
            reach: [reach(), reach(), reach()],
        }
    }

    /// The files of `workspace`.
    pub(crate) fn files(workspace: i64) -> impl Iterator<Item = i64> {
        let place = place(workspace).unwrap_or(0);
        (1..=FILES).map(move |number| 1000 * (place + 1) + number)
    }

    /// Where `file` lives.
    pub(crate) fn home(file: i64) -> Home {
        if file == HOMELESS {
            return Home::Untold;
        }
        let (place, number) = (file / 1000 - 1, file % 1000);
        let known = usize::try_from(place)
            .ok()
            .and_then(|at| WORKSPACES.get(at));
        match known {
            Some(workspace) if (1..=FILES).contains(&number) => Home::In(*workspace),
            Some(_) | None => Home::NoFile,
        }
    }

    /// Where `file` lives, as far as the search key `key` sees it.
    pub(crate) fn seen_home(&self, key: usize, file: i64) -> Home {
        match Self::home(file) {
            Home::In(workspace) if !self.reach[key].contains(&workspace) => Home::NoFile,
            home => home,
        }
    }
}

impl Marker {
    pub(crate) fn of(workspace: Option<i64>, key: usize) -> Self {
        let by = By::Name;
        Self { workspace, key, by }
    }

    /// Every marker in `text`; one that was cut counts as one of nowhere, which nobody may see.
    pub(crate) fn all_in(text: &[u8]) -> impl Iterator<Item = Self> {
        static BEGIN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("Zq"));
        BEGIN
            .find_iter(text)
            .map(|at| Self::read(text.get(at..at + 10).unwrap_or_default()))
    }

    fn read(text: &[u8]) -> Self {
        let nobodys = Self {
            workspace: None,
            key: usize::MAX,
            by: By::Name,
        };
        let &[b'Z', b'q', place, b'k', key, b's', ref by @ .., b'q', b'Z'] = text else {
            return nobodys;
        };
        let workspace = match place {
            b'n' => None,
            _ => match WORKSPACES.get(usize::from(place.wrapping_sub(b'0'))) {
                Some(workspace) => Some(*workspace),
                None => return nobodys,
            },
        };
        Self {
            workspace,
            key: usize::from(key.wrapping_sub(b'0')),
            by: By::read(by),
        }
    }
}

impl By {
    /// By a search in `workspaces`, or in files.
    pub(crate) fn search<'w>(
        workspaces: Option<impl IntoIterator<Item = &'w i64>>,
        in_files: bool,
    ) -> Self {
        match workspaces {
            _ if in_files => Self::Files,
            None => Self::Everywhere,
            Some(ids) => Self::Scope(ids.into_iter().fold(0, |bits, id| {
                bits | place(*id).map_or(0, |place| 1 << place)
            })),
        }
    }

    fn read(text: &[u8]) -> Self {
        match text {
            b"ev" => Self::Everywhere,
            b"fi" => Self::Files,
            _ => {
                let digits = std::str::from_utf8(text).ok();
                let bits = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bits.map_or(Self::Name, Self::Scope)
            }
        }
    }
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scope(bits) => write!(f, "{bits:02x}"),
            Self::Everywhere => f.write_str("ev"),
            Self::Files => f.write_str("fi"),
            Self::Name => f.write_str("na"),
        }
    }
}

impl std::fmt::Display for Marker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.workspace.and_then(place) {
            Some(place) => write!(f, "Zq{place}k{}s{}qZ", self.key, self.by),
            None => write!(f, "Zqnk{}s{}qZ", self.key, self.by),
        }
    }
}

fn place(workspace: i64) -> Option<i64> {
    let place = WORKSPACES.iter().position(|known| *known == workspace)?;
    i64::try_from(place).ok()
}
