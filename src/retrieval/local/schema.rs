//! The schema of the index: which fields a passage is found by.

use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, Schema, TextFieldIndexing, TextOptions,
};

/// The fields of the index. Texts come in as words that hold no space, parted by spaces.
#[derive(Clone, Copy)]
pub(super) struct Fields {
    /// Every word, folded: for names, numbers and codes that a stemmer would blur.
    pub(super) exact: Field,
    /// Stems without stop words.
    pub(super) stems: Field,
    /// Neighbouring stems, two by two.
    pub(super) pairs: Field,
    /// Stems of the document's title and file name.
    pub(super) title: Field,
    /// Stems of the headings above the passage.
    pub(super) headings: Field,
    /// The document's number.
    pub(super) file: Field,
    /// Which passage of the document.
    pub(super) ordinal: Field,
    /// The workspace's number.
    pub(super) workspace: Field,
    /// The numbers of the document's tags.
    pub(super) tag: Field,
}

/// Builds the schema.
pub(super) fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let split = TextFieldIndexing::default()
        .set_tokenizer("whitespace")
        .set_index_option(IndexRecordOption::WithFreqs)
        .set_fieldnorms(true);
    let text = TextOptions::default().set_indexing_options(split);
    let fields = Fields {
        exact: schema.add_text_field("exact", text.clone()),
        stems: schema.add_text_field("stems", text.clone()),
        pairs: schema.add_text_field("pairs", text.clone()),
        title: schema.add_text_field("title", text.clone()),
        headings: schema.add_text_field("headings", text),
        file: schema.add_i64_field("file", INDEXED | FAST),
        ordinal: schema.add_u64_field("ordinal", FAST),
        workspace: schema.add_i64_field("workspace", INDEXED),
        tag: schema.add_i64_field("tag", INDEXED),
    };
    (schema.build(), fields)
}

/// `words` as a field takes them. (tantivy takes split text too, but carries it through JSON: that took most of the time of indexing.)
pub(super) fn joined(words: &[String]) -> String {
    words.join(" ")
}
