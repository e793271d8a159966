//! The built program, driven by the packages that people drive it with: `openai` for Python and Node, LangChain, and `lighton-sdk`.
//!
//! Each script in a folder beside this file is one program that a user could have written; it ends with 0 or the test fails with what it
//! printed. The first run makes `target/sdk/`, with the packages of `requirements.txt` and `package.json`, and takes a minute or two.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test fails the test"
)]

#[path = "../watch/mod.rs"]
mod watch;

mod packages;
mod program;
mod providers;
mod reading;
mod script;
mod strictness;

use program::Program;
use providers::Providers;
use script::Language;

/// Anything does: the sandbox listens on loopback and asks for no key.
const ANY_KEY: &str = "sk-anything";

#[test]
fn the_openai_package_for_python_works_against_the_sandbox() {
    let sandbox = Program::sandbox();

    script::run_all("python", Language::Python, &addresses(&sandbox));
}

#[test]
fn the_openai_package_for_node_works_against_the_sandbox() {
    let sandbox = Program::sandbox();

    script::run_all("node", Language::Node, &addresses(&sandbox));
}

#[test]
fn the_package_of_lighton_works_against_the_search_service() {
    let sandbox = Program::sandbox();

    script::run_all("lighton_sdk", Language::Python, &addresses(&sandbox));
}

#[test]
fn the_code_of_the_guides_works_with_all_four_providers() {
    let sandbox = Program::sandbox();
    let providers = Providers::start();
    let gateway = Program::serve(&providers.configuration(sandbox.services()));

    script::run_all(
        "guides",
        Language::Python,
        &[
            ("GROUNDWIRE_URL", gateway.gateway()),
            ("GROUNDWIRE_KEY", ANY_KEY),
        ],
    );
    providers.assert_all_were_asked();
}

#[test]
fn the_tool_loop_of_the_guides_and_mode_tool_give_the_same_answers() {
    let sandbox = Program::sandbox();
    let providers = Providers::start();
    let gateway = Program::serve(&providers.configuration(sandbox.services()));
    let variables = providers.variables();
    let mut environment: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    environment.extend([
        ("GROUNDWIRE_URL", gateway.gateway()),
        ("GROUNDWIRE_KEY", ANY_KEY),
        ("SANDBOX_URL", sandbox.services()),
    ]);

    script::run_all("loops", Language::Python, &environment);
    providers.assert_all_were_asked();
}

/// What a script needs to know of a sandbox.
fn addresses(sandbox: &Program) -> [(&str, &str); 3] {
    [
        ("GROUNDWIRE_URL", sandbox.gateway()),
        ("GROUNDWIRE_KEY", ANY_KEY),
        ("SANDBOX_URL", sandbox.services()),
    ]
}
