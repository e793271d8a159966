//! The sandbox behind TLS, and a person who asks it.

use crate::program::{Program, groundwire};

#[test]
fn the_sandbox_speaks_tls_where_the_environment_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let issued =
        rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let issued = issued.unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let certificate = file("cert.pem", issued.cert.pem());
    let private_key = file("key.pem", issued.signing_key.serialize_pem());
    let mut sandbox = Program::sandbox_with(&[
        ("GROUNDWIRE_TLS__CERTIFICATE", &certificate),
        ("GROUNDWIRE_TLS__PRIVATE_KEY", &private_key),
    ]);
    let url = sandbox.gateway();
    assert!(url.starts_with("https://"), "{url}");
    assert!(sandbox.services().starts_with("http://"));

    let question = "What is our data retention policy?";
    let trusting = groundwire(&["ask", "--url", &url, question])
        .with(&[("SSL_CERT_FILE", &certificate)])
        .run();
    let strict = groundwire(&["ask", "--url", &url, question]).run();

    assert_eq!(trusting.code(), Some(0), "{}", trusting.stderr);
    assert!(trusting.stdout.contains("data-retention-policy.md"));
    assert_eq!(
        strict.code(),
        Some(1),
        "a stranger's certificate is refused"
    );
}
