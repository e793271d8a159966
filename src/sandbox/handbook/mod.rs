//! The handbook of a fictional company, Brightwater Instruments: what the sandbox searches when it is given no documents.

use jiff::{Timestamp, civil, tz::TimeZone};

/// The name of the workspace that the handbook itself is in.
pub(super) const WORKSPACE: &str = "Brightwater Handbook";

/// A document of the handbook.
pub(super) struct Document {
    /// The sub-folder it is in, a workspace of its own; `None` for the handbook itself.
    pub(super) folder: Option<&'static str>,
    /// Its file name.
    pub(super) filename: &'static str,
    /// Its text.
    pub(super) text: &'static str,
}

/// When the handbook was published.
pub(super) fn published() -> Timestamp {
    let day = civil::date(2026, 1, 12)
        .at(9, 0, 0, 0)
        .to_zoned(TimeZone::UTC);
    day.map(|moment| moment.timestamp()).unwrap_or_default()
}

macro_rules! documents {
    ($($folder:expr, $path:literal => $filename:literal;)+) => {
        /// Every document, in the order of their paths.
        pub(super) const DOCUMENTS: &[Document] = &[
            $(Document { folder: $folder, filename: $filename, text: include_str!(concat!("documents/", $path)) },)+
        ];
    };
}

documents! {
    None, "data-retention-policy.md" => "data-retention-policy.md";
    None, "employee-handbook.md" => "employee-handbook.md";
    None, "expense-policy.md" => "expense-policy.md";
    None, "information-security-policy.md" => "information-security-policy.md";
    None, "onboarding-checklist.md" => "onboarding-checklist.md";
    None, "privacy-notice.html" => "privacy-notice.html";
    None, "remote-work-policy.md" => "remote-work-policy.md";
    None, "travel-policy.txt" => "travel-policy.txt";
    Some("engineering"), "engineering/incident-response.md" => "incident-response.md";
    Some("engineering"), "engineering/release-process.md" => "release-process.md";
    Some("france"), "france/charte-teletravail.md" => "charte-teletravail.md";
    Some("support"), "support/product-faq.html" => "product-faq.html";
    Some("support"), "support/support-levels.md" => "support-levels.md";
}
