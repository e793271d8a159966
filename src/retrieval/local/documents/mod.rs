//! Files read into pages of Markdown, by their extension.

mod docx;
mod html;
mod pdf;
#[cfg(test)]
mod tests;
mod text;

use super::Page;

/// The extensions that [`read`] knows, in lower case and without the dot.
pub const EXTENSIONS: &[&str] = &["md", "txt", "html", "htm", "pdf", "docx"];

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pages {
    /// Its title, where it tells one.
    pub title: Option<String>,
    /// Its pages; a single one without a number where the format knows no pages.
    pub pages: Vec<Page>,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its extension is none of [`EXTENSIONS`].
    #[error("files of the type `{extension}` are not read; those that are: {}", EXTENSIONS.join(", "))]
    Unknown {
        /// The extension, as it stands in the name.
        extension: String,
    },
    /// It is damaged, locked or not what its extension says.
    #[error("{detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
}

/// Reads the file `filename` with the content `bytes`. Takes CPU time in proportion to its size: call it on a blocking thread.
pub fn read(filename: &str, bytes: &[u8]) -> Result<Pages, ReadError> {
    let extension = extension_of(filename);
    match extension.as_str() {
        "md" => Ok(text::markdown(bytes)),
        "txt" => Ok(text::plain(bytes)),
        "html" | "htm" => Ok(html::read(bytes)),
        "pdf" => pdf::read(bytes),
        "docx" => docx::read(bytes),
        _ => Err(ReadError::Unknown { extension }),
    }
}

/// The extension of `filename` in lower case, empty when it has none.
pub fn extension_of(filename: &str) -> String {
    filename
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_lowercase())
        .unwrap_or_default()
}
