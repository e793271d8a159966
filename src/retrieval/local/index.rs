//! The index: documents go in and out in whole batches, searches see one consistent state.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use tantivy::{
    Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, TantivyError, Term,
    tokenizer::Language,
};
use uuid::Uuid;

use super::{
    Document,
    passages::{self, Piece},
    ranking,
    schema::{self, Fields},
    words::{self, Lexicon},
};
use crate::{
    config::SearchMode,
    retrieval::{Found, SearchQuery, Source, Workspace},
};

/// What the writer may hold before it writes a segment, in bytes; tantivy's least is 15 MB.
const WRITER_BYTES: usize = 64_000_000;

/// A passage of which one word in so many is a stop word of a language is written in it.
const STOPS_TELL: usize = 4;

/// Names the space of passage ids for UUID version 5 (RFC 9562, section 5.5); itself drawn at random, once.
const PASSAGES: Uuid = Uuid::from_u128(0x8f1c_6a52_3e0b_4d97_9b64_2ad7_51c8_e013);

/// An index of documents in memory. Shared as an `Arc`; every method blocks for as long as its CPU work takes.
pub struct LocalIndex {
    writing: Mutex<Writing>,
    /// What searches see; swapped whole after each commit.
    seen: RwLock<Arc<Seen>>,
    /// Cloned for each search: stemming takes `&mut`.
    lexicon: Lexicon,
    fields: Fields,
}

/// How much an index holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Documents.
    pub documents: usize,
    /// Passages of all documents.
    pub passages: usize,
}

/// Why the index failed. It has no caller to blame: an error here is ours.
#[derive(Debug, thiserror::Error)]
#[error("the local index could not {doing}")]
pub struct Error {
    doing: &'static str,
    #[source]
    source: TantivyError,
}

impl From<Error> for crate::retrieval::Error {
    fn from(error: Error) -> Self {
        Self::Unavailable {
            detail: error.to_string(),
            source: Some(Box::new(error)),
        }
    }
}

/// The one who writes.
struct Writing {
    writer: IndexWriter,
    reader: IndexReader,
    lexicon: Lexicon,
}

/// One consistent state of the index.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) searcher: Searcher,
    pub(super) documents: HashMap<i64, Arc<Entry>>,
    /// ISO 639-3 codes of the languages seen so far: what a question may be written in.
    pub(super) languages: BTreeSet<&'static str>,
}

/// A document as answers show it.
pub(super) struct Entry {
    pub(super) source: Source,
    pub(super) workspace: Workspace,
    pub(super) passages: Vec<Shown>,
}

/// A passage as answers show it.
pub(super) struct Shown {
    pub(super) chunk_id: String,
    pub(super) piece: Piece,
}

impl LocalIndex {
    /// An empty index.
    pub fn new() -> Result<Self, Error> {
        let (schema, fields) = schema::schema();
        let index = Index::create_in_ram(schema);
        let writer = index
            .writer_with_num_threads(1, WRITER_BYTES)
            .map_err(failed("start its writer"))?;
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()
            .map_err(failed("start its reader"))?;
        let lexicon = Lexicon::new();
        let seen = Seen {
            searcher: reader.searcher(),
            documents: HashMap::new(),
            languages: BTreeSet::new(),
        };
        let writing = Writing {
            writer,
            reader,
            lexicon: lexicon.clone(),
        };
        Ok(Self {
            writing: Mutex::new(writing),
            seen: RwLock::new(Arc::new(seen)),
            lexicon,
            fields,
        })
    }

    /// Adds `document`, replacing one with the same `file_id`; searches see it when this returns.
    pub fn put(&self, document: Document) -> Result<(), Error> {
        self.put_all(vec![document])
    }

    /// Adds many documents at once, as [`LocalIndex::put`] does one: far faster, and seen all at the same moment.
    pub fn put_all(&self, documents: Vec<Document>) -> Result<(), Error> {
        if documents.is_empty() {
            return Ok(());
        }
        let mut writing = self.writing();
        let mut seen = Seen::clone(&self.seen());
        for document in documents {
            let (entry, languages) = writing.add(self.fields, document)?;
            seen.languages.extend(languages);
            seen.documents.insert(entry.source.file_id, Arc::new(entry));
        }
        self.commit(&mut writing, seen)
    }

    /// Takes the document out; nothing happens when there is none.
    pub fn remove(&self, file_id: i64) -> Result<(), Error> {
        self.remove_all(&[file_id])
    }

    /// Takes many documents out at the same moment.
    pub fn remove_all(&self, file_ids: &[i64]) -> Result<(), Error> {
        let mut writing = self.writing();
        let mut seen = Seen::clone(&self.seen());
        let before = seen.documents.len();
        for file_id in file_ids {
            if seen.documents.remove(file_id).is_some() {
                writing
                    .writer
                    .delete_term(Term::from_field_i64(self.fields.file, *file_id));
            }
        }
        if seen.documents.len() == before {
            return Ok(());
        }
        self.commit(&mut writing, seen)
    }

    /// Finds the passages that fit `query` best. A query outside what this index can do finds nothing and says why in the warnings.
    pub fn find(&self, query: &SearchQuery) -> Result<Found, Error> {
        if let Some(warning) = beyond(query) {
            return Ok(Found {
                passages: Vec::new(),
                warnings: vec![warning],
                cached: false,
            });
        }
        let seen = self.seen();
        let passages = ranking::find(&seen, self.fields, self.lexicon.clone(), query)
            .map_err(failed("search"))?;
        Ok(Found {
            passages,
            warnings: Vec::new(),
            cached: false,
        })
    }

    /// Counts what the index holds.
    pub fn size(&self) -> Size {
        let seen = self.seen();
        Size {
            documents: seen.documents.len(),
            passages: seen
                .documents
                .values()
                .map(|entry| entry.passages.len())
                .sum(),
        }
    }

    fn commit(&self, writing: &mut Writing, mut seen: Seen) -> Result<(), Error> {
        writing.writer.commit().map_err(failed("commit"))?;
        writing.reader.reload().map_err(failed("reload"))?;
        seen.searcher = writing.reader.searcher();
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(seen);
        Ok(())
    }

    // Both guarded values are replaced whole and stay sound when a thread dies in between: poison says nothing here.
    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Writing {
    fn add(
        &mut self,
        fields: Fields,
        document: Document,
    ) -> Result<(Entry, BTreeSet<&'static str>), Error> {
        self.writer
            .delete_term(Term::from_field_i64(fields.file, document.file_id));
        let pieces = passages::cut(&document.pages, &document.title);
        let language = document_language(&pieces);
        let mut languages = BTreeSet::new();
        let named = words::split(&format!(
            "{} {}",
            document.title,
            stem_of(&document.filename)
        ));
        for (ordinal, piece) in pieces.iter().enumerate() {
            let said = words::split(&piece.content);
            let (language, stems) = self.understood(&said, &piece.content, language);
            languages.insert(words::code_of(language));
            let mut entry = TantivyDocument::new();
            entry.add_i64(fields.file, document.file_id);
            entry.add_u64(fields.ordinal, ordinal as u64);
            entry.add_i64(fields.workspace, document.workspace.id.0);
            for tag in &document.tags {
                entry.add_i64(fields.tag, tag.id);
            }
            let exact: Vec<String> = said.iter().map(|word| words::fold(word)).collect();
            let above = self.lexicon.stems(&words::split(&piece.headings), language);
            entry.add_text(fields.exact, schema::joined(&exact));
            entry.add_text(fields.pairs, schema::joined(&words::pairs(&stems)));
            entry.add_text(fields.stems, schema::joined(&stems));
            entry.add_text(
                fields.title,
                schema::joined(&self.lexicon.stems(&named, language)),
            );
            entry.add_text(fields.headings, schema::joined(&above));
            self.writer
                .add_document(entry)
                .map_err(failed("take a passage"))?;
        }
        Ok((shown(document, pieces), languages))
    }

    /// The language of a passage and its stems; `document` is the language of the document it stands in.
    fn understood(
        &mut self,
        said: &[String],
        text: &str,
        document: Language,
    ) -> (Language, Vec<String>) {
        let stems = self.lexicon.stems(said, document);
        // Plain sentences are a third stop words. Where there are as many as that there is no doubt, and detection, which is slow, is spared.
        let stops = said.len() - stems.len();
        if stops * STOPS_TELL >= said.len() {
            return (document, stems);
        }
        match words::language_of(text) {
            Some(language) if language != document => {
                (language, self.lexicon.stems(said, language))
            }
            Some(_) | None => (document, stems),
        }
    }
}

/// What this index has no means for, as a warning.
fn beyond(query: &SearchQuery) -> Option<String> {
    if query.mode == SearchMode::Vision {
        return Some("vision: the local index has no page images".to_owned());
    }
    if !query.content_type.is_empty() || !query.attribute.is_empty() {
        return Some(
            "facets: documents of the local index carry no content types and no attributes"
                .to_owned(),
        );
    }
    None
}

fn shown(document: Document, pieces: Vec<Piece>) -> Entry {
    let last_page = document.pages.iter().filter_map(|page| page.number).max();
    let file_id = document.file_id;
    let passages = pieces.into_iter().enumerate().map(|(ordinal, piece)| {
        let name = format!("{file_id}/{ordinal}/{}", piece.content);
        Shown {
            chunk_id: Uuid::new_v5(&PASSAGES, name.as_bytes()).to_string(),
            piece,
        }
    });
    let passages = passages.collect();
    let source = Source {
        file_id,
        filename: document.filename,
        title: Some(document.title),
        mime_type: Some(document.extension),
        size_bytes: Some(document.size_bytes),
        page_start: None,
        page_end: None,
        total_pages: last_page,
        tags: document.tags,
        content_types: Vec::new(),
        external_metadata: document.external_metadata,
    };
    Entry {
        source,
        workspace: document.workspace,
        passages,
    }
}

/// The language of most of the document's text; English where nothing is long enough to tell.
fn document_language(pieces: &[Piece]) -> Language {
    let mut bytes: BTreeMap<&'static str, usize> = BTreeMap::new();
    for piece in pieces.iter().take(20) {
        if let Some(language) = words::language_of(&piece.content) {
            *bytes.entry(words::code_of(language)).or_default() += piece.content.len();
        }
    }
    let most = bytes.into_iter().max_by_key(|(_, bytes)| *bytes);
    most.and_then(|(code, _)| words::language_by_code(code))
        .unwrap_or(Language::English)
}

fn stem_of(filename: &str) -> &str {
    filename.rsplit_once('.').map_or(filename, |(stem, _)| stem)
}

fn failed(doing: &'static str) -> impl Fn(TantivyError) -> Error {
    move |source| Error { doing, source }
}
