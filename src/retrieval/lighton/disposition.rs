//! The file name in a `Content-Disposition` header (RFC 6266).

use percent_encoding::percent_decode_str;

/// Reads the file name: `filename*` before `filename`, without any folder before it.
pub(super) fn filename(header: &str) -> Option<String> {
    let parameters = parameters(header);
    let find = |name: &str| {
        parameters
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    let extended = find("filename*").and_then(|value| extended(value));
    let name = extended.or_else(|| find("filename").cloned())?;
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// `UTF-8'en'na%C3%AFve.pdf` (RFC 8187); other character sets are not read.
fn extended(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, encoded) = rest.split_once('\'')?;
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    percent_decode_str(encoded)
        .decode_utf8()
        .ok()
        .map(Into::into)
}

/// Splits `attachment; name=token; name="quoted \" text"` into its parameters.
fn parameters(header: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = header.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, value)) = rest.split_once('=') {
        let name = name.trim().trim_start_matches(';').trim().to_owned();
        let value = value.trim_start();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (token, after) = value.split_once(';').unwrap_or((value, ""));
                (token.trim().to_owned(), after)
            }
        };
        found.push((name, value));
        rest = after;
    }
    found
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    (text, chars.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_gives_its_name() {
        for (header, expected) in [
            ("attachment; filename=policy.pdf", Some("policy.pdf")),
            (
                r#"attachment; filename="a \"b\"; c.pdf"; size=3"#,
                Some("a \"b\"; c.pdf"),
            ),
            (
                "inline; filename=\"x.pdf\"; filename*=UTF-8''na%C3%AFve%20plan.pdf",
                Some("naïve plan.pdf"),
            ),
            (
                "attachment; FileName*=utf-8'fr'%C3%A9t%C3%A9.txt",
                Some("été.txt"),
            ),
            (
                "attachment; filename*=latin1''%E9.txt; filename=e.txt",
                Some("e.txt"),
            ),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            (
                "attachment; filename=\"C:\\\\temp\\\\plan.doc\"",
                Some("plan.doc"),
            ),
            ("attachment; filename=\"\"", None),
            ("attachment", None),
            ("", None),
        ] {
            assert_eq!(filename(header).as_deref(), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(header in "[ -~é;=\"'*%\\\\]{0,60}") {
            if let Some(name) = filename(&format!("attachment; filename{header}")) {
                prop_assert!(!name.is_empty() && !name.contains(['/', '\\', '\r', '\n']));
            }
        }
    }
}
