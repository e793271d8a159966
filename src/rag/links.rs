//! Where a citation leads: the document's own address, or a signed, expiring link to the file behind this gateway.

use std::{sync::Arc, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use url::Url;

use crate::{config, openai, retrieval::Source};

/// Signs and checks links.
#[derive(Clone)]
pub struct Signer {
    /// Made ready once, which is half the work of a signature. Never `None`: an HMAC takes secrets of any length.
    mac: Option<Arc<Hmac<Sha256>>>,
    ttl: Duration,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// The links of one answer.
#[derive(Debug, Clone)]
pub struct Links {
    signer: Signer,
    /// Scheme and host that the client knows the gateway by, without a slash at the end.
    base: String,
}

impl Signer {
    /// A signer with the operator's secret, or with a new one that lives as long as the process.
    pub fn new(settings: &config::Links) -> Result<Self, getrandom::Error> {
        let secret = match &settings.secret {
            Some(secret) => secret.expose().as_bytes().to_vec(),
            None => {
                let mut random = vec![0; 32];
                getrandom::fill(&mut random)?;
                random
            }
        };
        Ok(Self::of(&secret, settings.ttl))
    }

    fn of(secret: &[u8], ttl: Duration) -> Self {
        Self {
            mac: Hmac::new_from_slice(secret).ok().map(Arc::new),
            ttl,
        }
    }

    /// The same signer for links that live this long: those it signed before still open.
    pub fn with_ttl(&self, ttl: Duration) -> Self {
        Self {
            mac: self.mac.clone(),
            ttl,
        }
    }

    /// The signer for what a client's own key for search reaches: one file's number names another file there.
    pub fn for_search_key(&self, key: &config::Secret) -> Self {
        let derived = self.mac(&["search key ", key.expose()]);
        let secret = derived.map(|mac| mac.finalize().into_bytes());
        Self::of(&secret.unwrap_or_default(), self.ttl)
    }

    /// The links of an answer to a client that knows the gateway by `base`.
    pub fn links(&self, base: &str) -> Links {
        Links {
            signer: self.clone(),
            base: base.trim_end_matches('/').to_owned(),
        }
    }

    /// Whether `signature` opens the file until `expires` (Unix seconds), and that is still to come.
    pub fn opens(&self, file_id: i64, expires: u64, signature: &str) -> bool {
        if expires <= openai::unix_seconds() {
            return false;
        }
        let Some(presented) = from_hex(signature) else {
            return false;
        };
        self.mac(&[&signed(file_id, expires)])
            .is_some_and(|mac| mac.verify_slice(&presented).is_ok())
    }

    fn sign(&self, file_id: i64, expires: u64) -> String {
        let bytes = self
            .mac(&[&signed(file_id, expires)])
            .map(|mac| mac.finalize().into_bytes())
            .unwrap_or_default();
        let mut digits = String::with_capacity(2 * bytes.len());
        for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]) {
            digits.push(match digit {
                0..10 => char::from(b'0' + digit),
                _ => char::from(b'a' - 10 + digit),
            });
        }
        digits
    }

    /// The authentication of `texts` in a row.
    fn mac(&self, texts: &[&str]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::clone(self.mac.as_ref()?);
        for text in texts {
            mac.update(text.as_bytes());
        }
        Some(mac)
    }
}

/// What a signature stands for.
fn signed(file_id: i64, expires: u64) -> String {
    let (mut file, mut until) = (itoa::Buffer::new(), itoa::Buffer::new());
    ["source ", file.format(file_id), " ", until.format(expires)].concat()
}

impl Links {
    /// The address of a document, at the page where the passage begins.
    pub fn to(&self, document: &Source) -> String {
        if let Some(own) = own_address(document) {
            return own;
        }
        let expires = openai::unix_seconds().saturating_add(self.signer.ttl.as_secs());
        let signature = self.signer.sign(document.file_id, expires);
        let (mut file, mut until) = (itoa::Buffer::new(), itoa::Buffer::new());
        let mut link = [
            &self.base,
            "/sources/",
            file.format(document.file_id),
            "?expires=",
            until.format(expires),
            "&signature=",
            &signature,
        ]
        .concat();
        if let Some(page) = document.page_start {
            link.push_str("#page=");
            link.push_str(itoa::Buffer::new().format(page));
        }
        link
    }
}

/// The document's own address, when it has one that a browser may follow.
fn own_address(document: &Source) -> Option<String> {
    let address = document
        .external_metadata
        .as_ref()?
        .get("external_url")?
        .as_str()?;
    let url = Url::parse(address).ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return None;
    }
    // As it was written, unless a browser would have to mend it.
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>\"\\".contains(c);
    Some(if address.chars().all(is_plain) {
        address.to_owned()
    } else {
        url.to_string()
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn signer(secret: &str) -> Signer {
        Signer::new(&config::Links {
            secret: Some(config::Secret::new(secret)),
            ttl: Duration::from_secs(60),
        })
        .unwrap()
    }

    fn document(metadata: Option<serde_json::Value>) -> Source {
        Source {
            file_id: 512,
            page_start: Some(3),
            external_metadata: metadata,
            ..Source::default()
        }
    }

    #[test]
    fn a_signed_link_opens_its_file_and_no_other() {
        let signer = signer("s");
        let link =
            Url::parse(&signer.links("https://gateway.example/").to(&document(None))).unwrap();
        assert_eq!(
            (link.path(), link.fragment()),
            ("/sources/512", Some("page=3"))
        );
        let query: std::collections::HashMap<_, _> = link.query_pairs().into_owned().collect();
        let expires: u64 = query["expires"].parse().unwrap();
        let signature = &query["signature"];

        assert!(signer.opens(512, expires, signature));
        assert!(!signer.opens(513, expires, signature));
        assert!(!signer.opens(512, expires + 1, signature));
        assert!(!signer.opens(
            512,
            expires,
            &signature.replace(|c: char| c.is_ascii_digit(), "0")
        ));
        assert!(!signer.opens(512, expires, ""));
        assert!(!super::tests::signer("other").opens(512, expires, signature));
    }

    #[test]
    fn a_link_opens_nothing_by_another_search_key() {
        let gateway = signer("s");
        let own = |key: &str| gateway.for_search_key(&config::Secret::new(key));
        let later = openai::unix_seconds() + 60;
        let signature = own("a").sign(512, later);

        assert!(own("a").opens(512, later, &signature));
        assert!(!own("b").opens(512, later, &signature));
        assert!(!gateway.opens(512, later, &signature));
        assert!(!own("a").opens(512, later, &gateway.sign(512, later)));
    }

    #[test]
    fn a_link_that_has_expired_opens_nothing() {
        let signer = signer("s");
        let past = openai::unix_seconds() - 1;
        assert!(!signer.opens(512, past, &signer.sign(512, past)));
    }

    #[test]
    fn a_documents_own_address_is_used_when_a_browser_may_follow_it() {
        let links = signer("s").links("http://gateway");
        assert_eq!(
            links.to(&document(Some(
                json!({"external_url": "https://drive.example/a b"})
            ))),
            "https://drive.example/a%20b"
        );
        let plain = "https://drive.example?id=Ärger";
        assert_eq!(
            links.to(&document(Some(json!({"external_url": plain})))),
            plain
        );
        for bad in [
            json!({"external_url": "javascript:alert(1)"}),
            json!({"external_url": null}),
            json!({}),
            json!({"external_url": "file:///etc/passwd"}),
        ] {
            assert!(
                links
                    .to(&document(Some(bad)))
                    .starts_with("http://gateway/sources/512?")
            );
        }
    }
}
