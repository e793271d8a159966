//! The built program as a child process, on ports that the system picks.

use std::{
    fs,
    io::{BufRead, BufReader, Read, pipe},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::watch;

/// How long a start may take; the sandbox indexes its handbook in it, unoptimised and beside other tests.
const START: Duration = Duration::from_secs(60);

/// The running program; it is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    gateway: String,
    services: Option<String>,
    /// An empty folder, so that no configuration of the repository is found; its files live as long as the program.
    _folder: TempDir,
}

impl Program {
    /// Starts `groundwire sandbox`.
    pub(crate) fn sandbox() -> Self {
        let arguments = [
            "sandbox",
            "--listen",
            "127.0.0.1:0",
            "--services-listen",
            "127.0.0.1:0",
        ];
        let program = Self::start(
            tempfile::tempdir().unwrap(),
            &arguments,
            &["listening on ", "services on "],
        );
        assert!(program.services.is_some());
        program
    }

    /// Starts `groundwire serve` on the configuration `text`.
    pub(crate) fn serve(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("groundwire.toml"), text).unwrap();
        Self::start(
            folder,
            &[
                "serve",
                "--config",
                "groundwire.toml",
                "--listen",
                "127.0.0.1:0",
            ],
            &["listening on "],
        )
    }

    /// Where the gateway is, without `/v1`.
    pub(crate) fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Where the sandbox's services are.
    pub(crate) fn services(&self) -> &str {
        self.services.as_deref().unwrap()
    }

    /// Starts the program in `folder` and waits until it has announced each of `announcements`.
    fn start(folder: TempDir, arguments: &[&str], announcements: &[&str]) -> Self {
        let (output, input) = pipe().unwrap();
        watch::note_folder(folder.path());
        let child = watch::program()
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(input.try_clone().unwrap())
            .stderr(input)
            .spawn()
            .unwrap();
        let mut program = Self {
            child,
            gateway: String::new(),
            services: None,
            _folder: folder,
        };

        let lines = lines(output);
        let mut said = Vec::new();
        while !announcements
            .iter()
            .all(|words| announced(&said, words).is_some())
        {
            match lines.recv_timeout(START) {
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Timeout) => panic!(
                    "the program announced too little within {START:?}:\n{}",
                    said.join("\n")
                ),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the program ended early:\n{}", said.join("\n"))
                }
            }
        }
        program.gateway = announced(&said, "listening on ").unwrap();
        program.services = announced(&said, "services on ");
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some((_, authority)) = self.gateway.split_once("://") {
            watch::numbers(authority);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address that follows `words` in one of the lines.
fn announced(lines: &[String], words: &str) -> Option<String> {
    lines.iter().find_map(|line| {
        let at = line.find(&format!("{words}http://"))? + words.len();
        line[at..].split_whitespace().next().map(str::to_owned)
    })
}

/// The lines of `output`, read to the end by a thread of its own: a program whose log nobody reads stands still.
fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            watch::look("the program", line.as_bytes());
            // Nobody listens once the program has started; what it logs later is read and forgotten.
            let _ = sender.send(line);
        }
    });
    receiver
}
