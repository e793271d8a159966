//! Requests that nobody sends by mistake: each is refused with the contract's error, and nothing is forwarded.
//!
//! They go to the built program, byte for byte. What hyper refuses itself, because HTTP says that nothing of it can be believed, has an empty
//! 400 or 431 and ends the connection; everything else has OpenAI's error object.

#![expect(
    clippy::panic,
    reason = "test code: a failure here is the test's failure"
)]

mod bodies;
mod bombs;
mod files;
mod heads;
mod ids;
mod multiplexed;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Program,
    support::{
        lighton::{FakeLightOn, found, result},
        server::Server,
        upstream::says,
    },
    watch,
};

/// A request that is forged, and what it is refused with.
struct Forged {
    what: &'static str,
    request: Vec<u8>,
    refused: Refused,
}

/// How a request is refused.
#[derive(Debug, Clone, Copy)]
enum Refused {
    /// Status, code and param of the contract's error; no param: `null`.
    As(u16, &'static str, &'static str),
    /// By hyper, with this status, without a body, and with the end of the connection.
    Bare(u16),
}

/// The program between neighbours that must not hear anything.
struct Door {
    program: Program,
    lighton: FakeLightOn,
    model: Server,
}

/// All that came back on a connection.
struct Heard {
    status: u16,
    head: String,
    body: String,
    /// How many answers there were.
    answers: usize,
}

impl Door {
    /// Between neighbours that have nothing to say.
    async fn silent() -> Self {
        Self::start(FakeLightOn::new(), Server::new()).await
    }

    /// Between neighbours that answer.
    async fn answering() -> Self {
        let lighton = FakeLightOn::new().always("/api/v3/search", found([result("Five years.")]));
        let model = Server::new().always("/v1/chat/completions", says("Five."));
        Self::start(lighton, model).await
    }

    async fn start(lighton: FakeLightOn, model: Server) -> Self {
        let digest: String = Sha256::digest("acme")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let text = format!(
            "search.base_url = \"{}\"\nsearch.api_key = \"lo-secret-k\"\nretry.attempts = 1\n[upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"m\"]\n[[keys]]\nname = \"acme\"\nsha256 = \"{digest}\"\nworkspace_id = [42]\n",
            lighton.url(),
            model.url()
        );
        Self {
            program: Program::serve(&text).await,
            lighton,
            model,
        }
    }

    /// Sends these very bytes on a connection of their own, and reads to its end.
    async fn hear(&self, request: &[u8]) -> Heard {
        let mut socket = TcpStream::connect(self.program.authority()).await.unwrap();
        // The program may have answered and hung up before all of it was read.
        let _ = socket.write_all(request).await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        watch::look("an answer", &answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Heard {
            status: status.unwrap_or_default(),
            head: head.to_owned(),
            body: body.to_owned(),
            answers: text.matches("HTTP/1.1 ").count(),
        }
    }

    /// Sends each of a table, and checks that it is refused as it should be and that nobody else heard of it.
    async fn refuses(&self, table: Vec<Forged>) {
        for Forged {
            what,
            request,
            refused,
        } in table
        {
            let heard = self.hear(&request).await;
            heard.check(what, refused);
            assert_eq!(
                (self.lighton.connections(), self.model.connections()),
                (0, 0),
                "{what} was forwarded"
            );
        }
    }
}

impl Heard {
    fn check(&self, what: &str, refused: Refused) {
        let told = format!("{what}: {}\n\n{}", self.head, self.body);
        assert_eq!(self.answers, 1, "one answer, and nothing behind it: {told}");
        let (status, code, param) = match refused {
            Refused::Bare(status) => {
                assert_eq!((self.status, self.body.as_str()), (status, ""), "{told}");
                return;
            }
            Refused::As(status, code, param) => (status, code, param),
        };
        assert_eq!(self.status, status, "{told}");
        let kind = match status {
            401 => "authentication_error",
            403 => "permission_error",
            _ => "invalid_request_error",
        };
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{told}"
        );
        assert!(self.header("x-request-id").is_some(), "{told}");
        let body: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{told}"));
        let error = body["error"]
            .as_object()
            .unwrap_or_else(|| panic!("{told}"));
        let keys: Vec<&String> = error.keys().collect();
        assert_eq!(keys, ["message", "type", "param", "code"], "{told}");
        let param = match param {
            "" => Value::Null,
            param => json!(param),
        };
        let got = (&error["type"], &error["code"], &error["param"]);
        assert_eq!(got, (&json!(kind), &json!(code), &param), "{told}");
        assert!(
            self.body.len() < 2000,
            "an error does not repeat what was sent: {told}"
        );
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.split("\r\n").skip(1);
        lines.find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A request as a client would send it, to be forged.
struct Plain {
    line: String,
    host: String,
    key: String,
    kind: String,
    /// The headers that tell how long the body is; unset: its length.
    framing: Option<String>,
    more: String,
    body: Vec<u8>,
}

impl Plain {
    /// A chat request with this body.
    fn chat(body: impl Into<Vec<u8>>) -> Self {
        Self::post("/v1/chat/completions", body)
    }

    fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            line: format!("POST {path} HTTP/1.1"),
            host: "host: gateway.example\r\n".to_owned(),
            key: "authorization: Bearer acme\r\n".to_owned(),
            kind: "content-type: application/json\r\n".to_owned(),
            framing: None,
            more: String::new(),
            body: body.into(),
        }
    }

    fn get(path: &str) -> Self {
        let plain = Self::post(path, "");
        Self {
            line: format!("GET {path} HTTP/1.1"),
            framing: Some(String::new()),
            ..plain
        }
    }

    /// With these headers, each with its end of line.
    fn with(mut self, headers: &str) -> Self {
        self.more.push_str(headers);
        self
    }

    fn framed(mut self, framing: &str) -> Self {
        self.framing = Some(framing.to_owned());
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let length = format!("content-length: {}\r\n", self.body.len());
        let framing = self.framing.as_deref().unwrap_or(&length);
        let head = [
            &self.line,
            "\r\n",
            &self.host,
            &self.key,
            &self.kind,
            framing,
            &self.more,
            "connection: close\r\n\r\n",
        ];
        let mut bytes = head.concat().into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// As one of a table.
    fn is(self, what: &'static str, refused: Refused) -> Forged {
        Forged {
            what,
            request: self.bytes(),
            refused,
        }
    }
}

/// The body of a chat request with these fields beside the usual ones, as JSON text.
fn body(more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!(
        "{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"How long?\"}}]{comma}{more}}}"
    )
}
