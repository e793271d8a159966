//! What the chunks of a turn become while they differ in nothing but the text that they add.
//!
//! The second turn of an answer goes on with the identity of the first, so that each of its chunks is written anew. One is taken apart for
//! that; those like it are put into its form.

use bytes::Bytes;
use memchr::memmem;

use crate::{
    openai::chunk::Chunk,
    rag::frame::{Added, Frame},
};

/// Stand for the text and for the padding while the form of a chunk is made.
const TEXT: &str = "the text of a chunk 0f8e6c1d";
const PADDING: &str = "the padding of a chunk 0f8e6c1d";

/// The form of the chunks of a turn.
#[derive(Debug, Default)]
pub(super) struct Form {
    frame: Frame,
    /// What goes out; `None`: a chunk as it came.
    written: Option<Written>,
}

/// An event with a hole for the text and, behind it, perhaps one for padding.
#[derive(Debug)]
struct Written {
    before: Bytes,
    between: Option<Bytes>,
    after: Bytes,
}

impl Form {
    /// What the chunk in `data` adds to the first answer, where it is like the one that was kept and adds something.
    pub(super) fn added<'a>(&self, data: &'a [u8]) -> Option<Added<'a>> {
        let added = self.frame.added(data)?;
        (added.index == 0 && !added.text.is_empty()).then_some(added)
    }

    /// Notes that a chunk was like the one that is kept.
    pub(super) fn hit(&mut self) {
        self.frame.hit();
    }

    /// Keeps the form of `chunk`, which `data` says, if it adds text and nothing else. Where such chunks do not go out as they came, `write`
    /// gives the event that a chunk with this text becomes.
    pub(super) fn keep(
        &mut self,
        data: &[u8],
        chunk: &Chunk<'_>,
        write: Option<impl FnOnce(&Bytes, &str) -> Option<Bytes>>,
    ) {
        if !self.frame.keep(data, chunk) {
            return;
        }
        self.written = None;
        let Some(write) = write else { return };
        let marked = self.frame.filled(TEXT, PADDING).into();
        self.written = write(&marked, TEXT).as_ref().and_then(Written::of);
        if self.written.is_none() {
            self.frame.forget();
        }
    }

    /// The event for a chunk that adds `added`, with `text`, the inside of a JSON string, in the place of its own; `None` where it goes out as it
    /// came.
    pub(super) fn written(&self, added: Added<'_>, text: &[u8]) -> Option<Bytes> {
        let written = self.written.as_ref()?;
        let (between, padding) = match &written.between {
            Some(between) => (&between[..], added.padding.as_bytes()),
            None => (&b""[..], &b""[..]),
        };
        Some(
            [&written.before, text, between, padding, &written.after]
                .concat()
                .into(),
        )
    }
}

impl Written {
    /// The form of an event in which [`TEXT`] and [`PADDING`] stand.
    fn of(event: &Bytes) -> Option<Self> {
        let text = only(event, TEXT)?;
        let behind = text + TEXT.len();
        let padding = only(event, PADDING).filter(|padding| *padding >= behind);
        Some(Self {
            before: event.slice(..text),
            between: padding.map(|padding| event.slice(behind..padding)),
            after: event.slice(padding.map_or(behind, |padding| padding + PADDING.len())..),
        })
    }
}

/// Where `mark` stands in `event`, if it does so once.
fn only(event: &[u8], mark: &str) -> Option<usize> {
    let mut places = memmem::find_iter(event, mark);
    let place = places.next()?;
    places.next().is_none().then_some(place)
}
