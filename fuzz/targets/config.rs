//! The configuration: any file at all is either settings that keep their own rules, or problems that tell no secret.

use groundwire::config::{Config, Environment};

/// What the variables hold; no problem may quote it.
const SECRET: &str = "zq7-unspeakable-41";

/// Checks one file.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // What a file on this machine holds is no property of the text, and reading a terminal would wait for somebody to type.
    if text.contains("file") || text.contains(SECRET) {
        return;
    }
    let env = Environment::from([("LIGHTON_API_KEY", SECRET), ("SECRET", SECRET)]);
    match Config::parse(text, &env) {
        Ok(config) => keeps_its_rules(&config),
        Err(problems) => {
            assert!(problems.iter().next().is_some(), "refused without a reason");
            for problem in &problems {
                for part in [&problem.key, &problem.wrong, &problem.remedy] {
                    assert!(!part.is_empty(), "half a problem: {problem:?}");
                }
            }
            let told = problems.to_string();
            assert!(!told.contains(SECRET), "a secret is told: {told}");
        }
    }
}

fn keeps_its_rules(config: &Config) {
    assert!((1..=100).contains(&config.rag.max_results));
    assert!((0.0..=1.0).contains(&config.rag.min_relevance));
    assert!(config.retry.attempts >= 1);
    assert!(config.limits.request_body_bytes > 0);
    let known = |name: &str| {
        config
            .upstreams
            .iter()
            .any(|upstream| upstream.name == name)
    };
    for model in &config.models {
        assert!(known(&model.upstream), "`{}` is nowhere", model.name);
    }
    if let Some(name) = &config.default_upstream {
        assert!(known(name), "the default upstream is nowhere");
    }
    for key in &config.keys {
        assert!(!key.sha256.is_empty());
        for name in key.upstreams.iter().flatten() {
            assert!(known(name), "the key `{}` reaches nothing", key.name);
        }
    }
    assert!(
        config.listen.ip().to_canonical().is_loopback()
            || config.anonymous
            || !config.keys.is_empty(),
        "strangers need no key"
    );
    for upstream in &config.upstreams {
        let address = &upstream.base_url;
        assert!(matches!(address.scheme(), "http" | "https"));
        assert!(address.username().is_empty() && address.password().is_none());
        let shown = format!("{:?}", upstream.api_key);
        assert!(!shown.contains(SECRET), "a key is printed");
    }
}
