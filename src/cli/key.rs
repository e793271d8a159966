//! `groundwire key`: makes a client key; the configuration gets its hash only.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::{
    Failure,
    arguments::NewKey,
    terminal::{self, BOLD},
};

/// Makes a key and prints it, this once, with its block.
pub(super) fn run(args: &NewKey) -> Result<(), Failure> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::running("the system gives no random bytes", error))?;
    let key = format!("gw_{}", BASE64_URL_SAFE_NO_PAD.encode(random));

    terminal::talk("The key, for the client; nothing keeps it, and it is not shown again:");
    // The key stands outside the block and without a `#`: who pastes everything gets a problem told, not a secret in a file.
    terminal::data(&format!("{BOLD}{key}{BOLD:#}\n"))?;
    terminal::talk("For the configuration, which needs only the hash:");
    terminal::data(&block(&args.name, &key, &args.workspaces))
}

fn block(name: &str, key: &str, workspaces: &[i64]) -> String {
    let name = toml::Value::from(name);
    let digest: String = Sha256::digest(key)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let scope = if workspaces.is_empty() {
        "\"*\" # every workspace that search reaches; a list like [42, 43] narrows it".to_owned()
    } else {
        toml::Value::from(workspaces.to_vec()).to_string()
    };
    format!("[[keys]]\nname = {name}\nsha256 = \"{digest}\"\nworkspace_id = {scope}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        access::{KeyRing, Limiter},
        config::{Config, Environment, KeyScope, WorkspaceId},
    };

    #[test]
    fn a_block_is_configuration_that_knows_the_key() {
        for (name, workspaces, scope) in [
            ("acme", &[][..], KeyScope::Every),
            (
                "Søren \"the\" \\ [clerk] # 'x'",
                &[7, 42],
                KeyScope::Only(BTreeSet::from([WorkspaceId(7), WorkspaceId(42)])),
            ),
        ] {
            let text = format!(
                "rag.mode = \"off\"\nallow_overrides = false\n[upstreams.ollama]\n{}",
                block(name, "gw_secret", workspaces)
            );

            let config = Config::parse(&text, &Environment::default()).unwrap();

            assert_eq!(config.keys[0].name, name);
            assert_eq!(config.keys[0].scope, scope);
            assert!(
                KeyRing::new(&config.keys, &Limiter::default())
                    .find("gw_secret")
                    .is_some()
            );
        }
    }
}
