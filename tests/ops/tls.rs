//! TLS at the gateway's own door.

use std::{fs, io::Read, net::TcpStream, path::Path, process::Output, time::Duration};

use groundwire::config::{Config, Environment};
use reqwest::Certificate;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Program, question,
    support::{
        lighton::{FakeLightOn, result},
        reply::{Gate, sse_unfinished},
        server::Server,
        upstream::{chunk, finish, says},
    },
    watch,
};

const TAKEN: &str = "the new configuration is in force";

/// A certificate for this machine, and its key, each as PEM.
struct Issued {
    certificate: String,
    private_key: String,
}

impl Issued {
    fn new() -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let issued = rcgen::generate_simple_self_signed(names).unwrap();
        Self {
            certificate: issued.cert.pem(),
            private_key: issued.signing_key.serialize_pem(),
        }
    }

    /// Puts both into the files that the configuration names, by rename.
    fn put_into(&self, folder: &Path) {
        for (name, text) in [
            ("cert.pem", &self.certificate),
            ("key.pem", &self.private_key),
        ] {
            let draft = folder.join("draft");
            fs::write(&draft, text).unwrap();
            fs::rename(&draft, folder.join(name)).unwrap();
        }
    }

    /// A client that trusts this certificate and no other.
    fn client(&self) -> reqwest::Client {
        let certificate = Certificate::from_pem(self.certificate.as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([certificate]);
        client.build().unwrap()
    }
}

const TLS: &str = "[tls]\ncertificate = \"cert.pem\"\nprivate_key = \"key.pem\"\n";

fn relaying(upstream: &Server) -> String {
    format!(
        "rag.mode = \"off\"\nallow_overrides = false\n{TLS}[upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"m\"]\n",
        upstream.url()
    )
}

fn folder(issued: &Issued, text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("groundwire.toml"), text).unwrap();
    issued.put_into(folder.path());
    folder
}

fn chat(client: &reqwest::Client, program: &Program, body: &Value) -> reqwest::RequestBuilder {
    let request = client.post(program.url("/v1/chat/completions"));
    let request = request.header("content-type", "application/json");
    request.body(body.to_string())
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_and_links_say_https() {
    let issued = Issued::new();
    let lighton = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(says("Five years [1]."));
    let text = format!(
        "search = {{ base_url = \"{}\", api_key = \"md-secret-k\" }}\n{TLS}[upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"m\"]\n",
        lighton.url(),
        upstream.url()
    );
    let mut program = Program::start(folder(&issued, &text)).await;
    program.says("listening on https://127.0.0.1:").await;
    let certificate = Certificate::from_pem(issued.certificate.as_bytes()).unwrap();
    let old = reqwest::Client::builder()
        .http1_only()
        .tls_certs_only([certificate]);

    let by_two = watch::send(issued.client().get(program.url("/healthz"))).await;
    let old = old.build().unwrap().get(program.url("/healthz"));
    let by_one = watch::send(old).await;
    let answer = chat(&issued.client(), &program, &question("How long?"));
    let answer = watch::send(answer).await.unwrap().text().await.unwrap();

    assert_eq!(by_two.unwrap().version(), http::Version::HTTP_2);
    assert_eq!(by_one.unwrap().version(), http::Version::HTTP_11);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let link = &answer["choices"][0]["message"]["annotations"][0]["url_citation"]["url"];
    let expected = program.url("/sources/512?");
    assert!(link.as_str().unwrap().starts_with(&expected), "{link}");
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_no_open_answer_is_cut() {
    let gate = Gate::new();
    let reply = sse_unfinished([chunk("o")])
        .wait(&gate)
        .piece(format!("data: {}\n\n", chunk("ld")))
        .piece(format!("data: {}\n\ndata: [DONE]\n\n", finish("stop")));
    let upstream = Server::new().then(reply);
    let (first, second) = (Issued::new(), Issued::new());
    let mut program = Program::start(folder(&first, &relaying(&upstream))).await;
    let mut body = question("x");
    body["stream"] = json!(true);
    let stream = chat(&first.client(), &program, &body);
    let mut stream = watch::send(stream).await.unwrap();
    stream.chunk().await.unwrap().unwrap();

    second.put_into(program.folder());
    // Between the two renames the files do not belong together, which may be told and changes nothing.
    program.says(TAKEN).await;
    let health = program.url("/healthz");
    let by_new = watch::send(second.client().get(&health)).await;
    let by_old = watch::send(first.client().get(&health)).await;
    gate.open();
    let rest = stream.text().await.unwrap();

    assert_eq!(by_new.unwrap().status(), 200);
    assert!(by_old.is_err(), "the old certificate is shown no more");
    assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
}

#[tokio::test]
async fn a_broken_certificate_is_told_and_the_old_one_stays() {
    let issued = Issued::new();
    let upstream = Server::new();
    let mut program = Program::start(folder(&issued, &relaying(&upstream))).await;
    let stays = async |program: &Program| {
        let health = program.url("/healthz");
        watch::send(issued.client().get(health))
            .await
            .unwrap()
            .status()
    };

    fs::write(program.folder().join("cert.pem"), "no certificate").unwrap();
    program
        .says("tls.certificate: the file holds no PEM certificate")
        .await;
    assert_eq!(stays(&program).await, 200);

    // The certificate of another key.
    fs::write(program.folder().join("cert.pem"), Issued::new().certificate).unwrap();
    let log = program
        .says("tls.private_key: it cannot be used with this certificate")
        .await;
    assert_eq!(stays(&program).await, 200);
    let secret = issued.private_key.lines().nth(1).unwrap();
    assert!(!log.contains(secret));
}

#[tokio::test]
async fn who_is_slow_to_agree_on_tls_holds_nobody_up_and_is_cut() {
    let issued = Issued::new();
    let upstream = Server::new();
    let program = Program::start(folder(&issued, &relaying(&upstream))).await;
    let address = program.authority().to_owned();
    let mut silent: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();

    let health = watch::send(issued.client().get(program.url("/healthz"))).await;
    assert_eq!(health.unwrap().status(), 200);

    let mut one = silent.pop().unwrap();
    one.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let cut = tokio::task::spawn_blocking(move || one.read(&mut [0; 64]));
    assert_eq!(cut.await.unwrap().unwrap(), 0, "the gateway hangs up");
}

#[tokio::test]
async fn a_drain_does_not_wait_for_who_never_agreed() {
    let issued = Issued::new();
    let upstream = Server::new();
    let text = format!(
        "timeouts.drain_delay = \"0s\"\ntimeouts.shutdown = \"600s\"\n{}",
        relaying(&upstream)
    );
    let mut program = Program::start(folder(&issued, &text)).await;
    let _silent = TcpStream::connect(program.authority()).unwrap();
    // The next connection is answered only after the silent one was accepted.
    let health = watch::send(issued.client().get(program.url("/healthz"))).await;
    assert_eq!(health.unwrap().status(), 200);

    program.terminate();

    assert_eq!(program.end().await.0, Some(0));
}

/// Runs the program to its end, with the certificate as the only one that is trusted.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = watch::program();
    command.args(arguments).current_dir(folder).env_clear();
    command.env("SSL_CERT_FILE", folder.join("cert.pem"));
    let output = command.output().unwrap();
    watch::look("the program", &output.stdout);
    watch::look("the program", &output.stderr);
    output
}

#[tokio::test]
async fn the_client_commands_speak_tls() {
    let issued = Issued::new();
    let upstream = Server::new().always("/v1/chat/completions", {
        sse_unfinished([chunk("It is so.")])
            .piece(format!("data: {}\n\ndata: [DONE]\n\n", finish("stop")))
    });
    let program = Program::start(folder(&issued, &relaying(&upstream))).await;
    let url = program.url("");
    let folder = program.folder().to_owned();

    let ended = tokio::task::spawn_blocking(move || {
        let asked = run(&folder, &["ask", "--url", &url, "Is it so?"]);
        // The certificate is not asked after on the way to this very machine.
        let alive = watch::program()
            .args(["health", "--url", &url])
            .env_clear()
            .output();
        (asked, alive.unwrap())
    });
    let (asked, alive) = ended.await.unwrap();

    let stderr = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(asked.status.success(), "{stderr}");
    assert!(String::from_utf8_lossy(&asked.stdout).contains("It is so."));
    assert!(alive.status.success(), "{alive:?}");
}

#[test]
fn what_is_wrong_with_the_files_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (Issued::new(), Issued::new());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (certificate, private_key) = (
        file("cert.pem", &one.certificate),
        file("key.pem", &one.private_key),
    );
    let (foreign, empty) = (file("other.pem", &other.private_key), file("empty.pem", ""));
    for (certificate, private_key, told) in [
        (certificate.as_str(), "", "tls.private_key: it is missing"),
        ("", private_key.as_str(), "tls.certificate: it is missing"),
        (
            "/no/such",
            &private_key,
            "tls.certificate: the file cannot be read",
        ),
        (
            &certificate,
            "/no/such",
            "tls.private_key: the file cannot be read",
        ),
        (
            &empty,
            &private_key,
            "tls.certificate: the file holds no PEM certificate",
        ),
        (
            &private_key,
            &private_key,
            "tls.certificate: the file holds no PEM certificate",
        ),
        (
            &certificate,
            &certificate,
            "tls.private_key: the file holds no PEM private key",
        ),
        (
            &certificate,
            &foreign,
            "tls.private_key: it cannot be used with this certificate",
        ),
    ] {
        let text = format!(
            "rag.mode = \"off\"\nallow_overrides = false\n[tls]\ncertificate = {certificate:?}\nprivate_key = {private_key:?}\n[upstreams.ollama]\n"
        );
        let problems = Config::parse(&text, &Environment::default()).unwrap_err();
        let problems = problems.to_string();
        assert!(problems.contains(told), "{told} is missing:\n{problems}");
    }
    let text = format!(
        "rag.mode = \"off\"\nallow_overrides = false\n[tls]\ncertificate = {certificate:?}\nprivate_key = {private_key:?}\n[upstreams.ollama]\n"
    );
    let config = Config::parse(&text, &Environment::default()).unwrap();
    assert!(!format!("{config:?}").contains(one.private_key.lines().nth(1).unwrap()));
}
