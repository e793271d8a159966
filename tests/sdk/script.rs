//! Scripts: started with addresses in their environment, and failed with what they printed.

use std::{
    fs,
    io::{Read, pipe},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use crate::packages::{self, Packages, here};

/// How long one script may take. None needs more than seconds; a stream that never ends must not hold up the tests for ever.
const DEADLINE: Duration = Duration::from_secs(120);

/// What a script is written in.
#[derive(Clone, Copy)]
pub(crate) enum Language {
    /// Python, with `requirements.txt`.
    Python,
    /// JavaScript, with `package.json`.
    Node,
}

/// Runs every script of `folder` and fails, after the last one, with the output of those that failed.
pub(crate) fn run_all(folder: &str, language: Language, environment: &[(&str, &str)]) {
    let (extension, packages) = match language {
        Language::Python => ("py", packages::python()),
        Language::Node => ("mjs", packages::node()),
    };
    let scripts = scripts(&here().join(folder), extension);
    assert!(!scripts.is_empty(), "no script in {folder}");

    let failures: Vec<String> = scripts
        .iter()
        .filter_map(|script| {
            run(script, language, &packages, environment)
                .err()
                .map(|output| format!("--- {}\n{output}", script.display()))
        })
        .collect();

    assert!(
        failures.is_empty(),
        "{} of {} scripts failed\n{}",
        failures.len(),
        scripts.len(),
        failures.join("\n")
    );
}

/// The scripts of a folder by name; a name that begins with `_` is a module of theirs.
fn scripts(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut scripts: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('_'))
        .collect();
    scripts.sort();
    scripts
}

/// Runs one script; the error is what it printed.
fn run(
    script: &Path,
    language: Language,
    packages: &Packages,
    environment: &[(&str, &str)],
) -> Result<(), String> {
    let script = match language {
        Language::Python => script.to_owned(),
        // Node looks for packages beside the script, and nowhere that a variable could name.
        Language::Node => {
            let copy = packages.folder.join(script.file_name().unwrap());
            fs::copy(script, &copy).unwrap();
            copy
        }
    };
    let (mut output, input) = pipe().unwrap();
    let mut child = Command::new(&packages.interpreter)
        .arg(&script)
        // All of it happens on loopback, whatever proxy the machine is behind.
        .env("NO_PROXY", "*")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(input.try_clone().unwrap())
        .stderr(input)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", packages.interpreter.display()));

    let (sender, printed) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A script that is killed leaves what it printed so far.
        let _ = output.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    let in_time = printed.recv_timeout(DEADLINE);
    if in_time.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().unwrap();

    match in_time {
        Ok(_) if status.success() => Ok(()),
        Ok(text) => Err(format!("{text}({status})")),
        Err(_) => Err(format!(
            "{}(killed after {DEADLINE:?})",
            printed.recv_timeout(DEADLINE).unwrap_or_default()
        )),
    }
}
