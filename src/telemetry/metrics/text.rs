//! The text that scrapers read.

/// OpenMetrics as the older text format, which every scraper reads: there a counter's family is called like its samples, and units have no line.
pub(super) fn plain(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len() + 256);
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest;
            continue;
        }
        if line.starts_with("# UNIT ") {
            continue;
        }
        if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let said = help.strip_prefix(name).unwrap_or_default();
            out.push_str(&format!(
                "# HELP {name}{suffix}{said}\n# TYPE {name}{suffix} {kind}\n"
            ));
            continue;
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}
