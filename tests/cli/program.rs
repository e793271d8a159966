//! The built program as a child process, in an empty folder and an empty environment.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code: a failure here is the test's failure"
)]

use std::{
    io::{PipeReader, Read, Write, pipe},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::watch;

/// How long a test waits for something that must happen before it fails; nothing is timed by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Its data.
    pub(crate) stdout: String,
    /// Its talk.
    pub(crate) stderr: String,
}

impl Ended {
    /// The exit code; a program that a signal ended has none.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// A running program; it is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    stdout: Option<Output>,
    stderr: Output,
    /// Its files live as long as it does.
    _folder: TempDir,
}

/// What is started, and with what around it.
pub(crate) struct Start<'a> {
    arguments: &'a [&'a str],
    variables: &'a [(&'a str, &'a str)],
    files: &'a [(&'a str, &'a str)],
    input: &'a str,
}

/// Describes a start of the program with `arguments`.
pub(crate) fn groundwire<'a>(arguments: &'a [&'a str]) -> Start<'a> {
    Start {
        arguments,
        variables: &[],
        files: &[],
        input: "",
    }
}

impl<'a> Start<'a> {
    /// Sets environment variables; there are no others.
    pub(crate) fn with(mut self, variables: &'a [(&'a str, &'a str)]) -> Self {
        self.variables = variables;
        self
    }

    /// Puts files, each a name and a text, into the folder where the program starts.
    pub(crate) fn among(mut self, files: &'a [(&'a str, &'a str)]) -> Self {
        self.files = files;
        self
    }

    /// Gives the program something to read on its standard input.
    pub(crate) fn reading(mut self, input: &'a str) -> Self {
        self.input = input;
        self
    }

    /// Starts it.
    pub(crate) fn start(self) -> Program {
        let (reader, writer) = pipe().unwrap();
        let mut program = self.start_into(writer);
        program.stdout = Some(Output::of(reader));
        program
    }

    /// Starts it with a standard output that the test reads itself.
    pub(crate) fn start_into(self, stdout: impl Into<Stdio>) -> Program {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in self.files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        watch::note_folder(folder.path());
        watch::note_variables(self.variables.iter().copied());
        let mut child = watch::program()
            .args(self.arguments)
            .current_dir(folder.path())
            .env_clear()
            .envs(self.variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Most commands do not read it and may have closed it.
        let _ = stdin.write_all(self.input.as_bytes());
        let stderr = Output::of(child.stderr.take().unwrap());
        Program {
            child,
            stdout: None,
            stderr,
            _folder: folder,
        }
    }

    /// Starts it and waits for its end.
    pub(crate) fn run(self) -> Ended {
        self.start().end()
    }
}

impl Program {
    /// Starts the sandbox on free ports, and waits until it listens.
    pub(crate) fn sandbox() -> Self {
        Self::sandbox_with(&[])
    }

    /// Starts the sandbox on free ports with these variables, and waits until it listens.
    pub(crate) fn sandbox_with(variables: &[(&str, &str)]) -> Self {
        let free = "127.0.0.1:0";
        let mut program = groundwire(&["sandbox", "--listen", free, "--services-listen", free])
            .with(variables)
            .start();
        program.gateway();
        program
    }

    /// Where the gateway is, without `/v1`; waits until it is told.
    pub(crate) fn gateway(&mut self) -> String {
        self.announced("listening on ")
    }

    /// Where the stand-ins are; waits until it is told.
    pub(crate) fn services(&mut self) -> String {
        self.announced("services on ")
    }

    /// Waits until `words` stand on stderr.
    pub(crate) fn says(&mut self, words: &str) {
        self.stderr.until(words);
    }

    /// Waits until `words` stand on stdout, and gives all of it so far.
    pub(crate) fn writes(&mut self, words: &str) -> String {
        self.stdout.as_mut().unwrap().until(words).to_owned()
    }

    /// Sends a signal by its short name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let stdout = self.stdout.take().map(Output::rest).unwrap_or_default();
        let stderr = std::mem::take(&mut self.stderr).rest();
        let status = self.child.wait().unwrap();
        Ended {
            status,
            stdout,
            stderr,
        }
    }

    fn announced(&mut self, words: &str) -> String {
        // With the line's end, or the address may be half of one.
        let told = loop {
            let told = self.stderr.until(words).to_owned();
            let (_, rest) = told.split_once(words).unwrap();
            if let Some((address, _)) = rest.split_once('\n') {
                break address.to_owned();
            }
            self.stderr.more(words);
        };
        assert!(told.starts_with("http"), "{told}");
        told
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the program writes, read by a thread of its own: a program whose output nobody reads stands still.
#[derive(Default)]
struct Output {
    pieces: Option<Receiver<Vec<u8>>>,
    text: String,
}

impl Output {
    fn of(mut from: impl Read + Send + 'static) -> Self {
        let (sender, pieces) = channel();
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            let mut said = Vec::new();
            while let Ok(count) = from.read(&mut buffer) {
                let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else {
                    break;
                };
                said.extend_from_slice(piece);
                watch::look("the program", &said);
                if sender.send(piece.to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            pieces: Some(pieces),
            text: String::new(),
        }
    }

    fn until(&mut self, words: &str) -> &str {
        while !self.text.contains(words) {
            self.more(words);
        }
        &self.text
    }

    fn more(&mut self, wanted: &str) {
        let pieces = self.pieces.as_ref().unwrap();
        match pieces.recv_timeout(PATIENCE) {
            Ok(piece) => self.text.push_str(&String::from_utf8_lossy(&piece)),
            Err(why) => panic!("{why} while waiting for `{wanted}`: {}", self.text),
        }
    }

    /// Everything, read to its end.
    fn rest(mut self) -> String {
        let pieces = self.pieces.take().unwrap();
        loop {
            match pieces.recv_timeout(PATIENCE) {
                Ok(piece) => self.text.push_str(&String::from_utf8_lossy(&piece)),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return self.text,
                Err(why) => panic!("{why} while waiting for the program's end: {}", self.text),
            }
        }
    }
}

/// Reads what is there now, waiting for at least one byte.
pub(crate) fn read_some(from: &mut PipeReader) -> String {
    let mut buffer = [0; 4096];
    let count = from.read(&mut buffer).unwrap();
    String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned()
}
