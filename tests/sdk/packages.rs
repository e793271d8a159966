//! `target/sdk/`: the packages, installed once for a set of versions.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// Where a script language finds its packages.
pub(crate) struct Packages {
    /// The interpreter.
    pub(crate) interpreter: PathBuf,
    /// The folder in which a Node script finds `node_modules`.
    pub(crate) folder: PathBuf,
}

/// A Python environment that holds `requirements.txt`.
pub(crate) fn python() -> Packages {
    let wanted = here().join("requirements.txt");
    let folder = once("python", &[&wanted], |folder| {
        if !run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(folder))
        {
            panic!(
                "`python3 -m venv` failed: these tests need Python 3.10 or later with venv (on Debian: python3-venv)"
            );
        }
        let mut install = Command::new(folder.join("bin/python"));
        install
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--requirement",
            ])
            .arg(&wanted);
        assert!(
            run(&mut install),
            "pip could not install {}: is the package index within reach?",
            wanted.display()
        );
    });

    Packages {
        interpreter: folder.join("bin/python"),
        folder,
    }
}

/// A folder with the `node_modules` of `package-lock.json`.
pub(crate) fn node() -> Packages {
    let wanted = [
        here().join("package.json"),
        here().join("package-lock.json"),
    ];
    let folder = once("node", &[&wanted[0], &wanted[1]], |folder| {
        for file in &wanted {
            fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
        }
        let mut install = Command::new("npm");
        install
            .args(["ci", "--silent", "--no-audit", "--no-fund"])
            .current_dir(folder);
        assert!(
            run(&mut install),
            "`npm ci` failed: these tests need Node 20 or later with npm, and the package registry within reach"
        );
    });

    Packages {
        interpreter: "node".into(),
        folder,
    }
}

/// The folder of this test.
pub(crate) fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk")
}

/// Makes `target/sdk/<name>` with `install`, unless it was made from files that say the same as `wanted` does now.
///
/// The stamp is those files' text, written last, so that an interrupted installation is begun again. A lock keeps other tests waiting,
/// in this process and in others.
fn once(name: &str, wanted: &[&Path], install: impl FnOnce(&Path)) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("sdk");
    fs::create_dir_all(&all).unwrap();
    let lock = File::create(all.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();

    let stamp = all.join(format!("{name}.stamp"));
    let text: String = wanted
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let folder = all.join(name);
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == text) {
        return folder;
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir(&folder).unwrap();
    install(&folder);
    fs::write(stamp, text).unwrap();

    folder
}

/// Whether the command could be started and ended well; what it says goes to the test's own output.
fn run(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}
