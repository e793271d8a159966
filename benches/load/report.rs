//! The figures: medians over the runs, ratios to nginx, as tables or JSON.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde_json::{Map, Value, json};

use crate::{
    cases::{Case, Target},
    client::Tally,
};

/// The figures of one run of one case. A missing one does not apply.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample([Option<f64>; FIGURES.len()]);

/// The figures of a case: their names in JSON, their heads in the table, and what is made of them.
const FIGURES: [(&str, &str, Told); 12] = [
    ("answers_per_second", "answers/s", Told::Plain),
    ("cpu_us_per_request", "µs/req", Told::Ratio),
    ("cpu_us_per_event", "µs/event", Told::Ratio),
    ("p50_us", "p50 µs", Told::Plain),
    ("added_p50_us", "added", Told::Added(3)),
    ("p99_us", "p99 µs", Told::Ratio),
    ("first_event_p50_us", "first µs", Told::Plain),
    ("added_first_event_p50_us", "added", Told::Added(6)),
    ("event_delay_p50_us", "delay µs", Told::Plain),
    ("event_delay_p99_us", "p99 µs", Told::Ratio),
    ("cpu_share", "cpu", Told::Plain),
    ("failed", "failed", Told::Plain),
];

/// How a figure is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Plain,
    /// With its ratio to nginx.
    Ratio,
    /// What the figure at this place is above that of going direct, with its ratio to nginx.
    Added(usize),
}

/// What does not depend on the load. Sizes are bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// From starting the process to its first answer.
    pub(crate) start: Duration,
    /// Of the program.
    pub(crate) size: u64,
    /// Memory after the first answer.
    pub(crate) idle: u64,
    /// The most memory under a thousand streams.
    pub(crate) peak: u64,
    /// Memory a while after them.
    pub(crate) after: Option<u64>,
    /// Streams that failed.
    pub(crate) failed: u64,
}

/// All figures.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// By place in the order of measuring, so that rows keep it.
    cases: Vec<(Case, Vec<Sample>)>,
    facts: BTreeMap<Target, Vec<Facts>>,
}

impl Sample {
    pub(crate) fn new(mut tally: Tally, elapsed: Duration, cpu: Option<Duration>) -> Self {
        let micros = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        let cpu_us = cpu.map(|cpu| cpu.as_secs_f64() * 1e6);
        let per = |count: u64| cpu_us.filter(|_| count > 0).map(|cpu| cpu / count as f64);
        let at = |times: &mut Vec<u64>, share| percentile(times, share).map(micros);
        let streamed = tally.events > 0;
        Self([
            Some(tally.answers as f64 / elapsed.as_secs_f64()),
            per(tally.answers).filter(|_| !streamed),
            per(tally.events),
            at(&mut tally.latencies, 0.5).filter(|_| !streamed),
            None,
            at(&mut tally.latencies, 0.99).filter(|_| !streamed),
            at(&mut tally.firsts, 0.5),
            None,
            at(&mut tally.delays, 0.5),
            at(&mut tally.delays, 0.99),
            cpu.map(|cpu| cpu.as_secs_f64() / elapsed.as_secs_f64()),
            Some(tally.failed as f64),
        ])
    }

    fn at(&self, place: usize) -> Option<f64> {
        self.0.get(place).copied().flatten()
    }
}

impl Report {
    pub(crate) fn add(&mut self, case: &Case, sample: Sample) {
        let same = |known: &Case| known.name() == case.name() && known.target == case.target;
        match self.cases.iter_mut().find(|(known, _)| same(known)) {
            Some((_, samples)) => samples.push(sample),
            None => self.cases.push((*case, vec![sample])),
        }
    }

    pub(crate) fn tell(&mut self, target: Target, facts: Facts) {
        self.facts.entry(target).or_default().push(facts);
    }

    /// The median of a figure, or what is made of it.
    fn figure(&self, case: &Case, place: usize) -> Option<f64> {
        let (_, _, told) = FIGURES.get(place)?;
        if let Told::Added(of) = told {
            let direct = self
                .beside(case, Target::Direct)
                .filter(|_| case.target != Target::Direct)?;
            return Some(self.figure(case, *of)? - self.figure(direct, *of)?);
        }
        let same = |known: &Case| known.name() == case.name() && known.target == case.target;
        let (_, samples) = self.cases.iter().find(|(known, _)| same(known))?;
        median(
            samples
                .iter()
                .filter_map(|sample| sample.at(place))
                .collect(),
        )
    }

    /// The case that another target was asked for comparison.
    fn beside(&self, case: &Case, target: Target) -> Option<&Case> {
        let same = |other: &Case| {
            other.target == target && other.shape == case.shape && other.clients == case.clients
        };
        self.cases
            .iter()
            .map(|(known, _)| known)
            .find(|known| same(known))
    }

    /// A figure of the gateway over the same one of nginx.
    fn ratio(&self, case: &Case, place: usize) -> Option<f64> {
        let (_, _, told) = FIGURES.get(place)?;
        if case.target != Target::Gateway || *told == Told::Plain {
            return None;
        }
        let yardstick = self.figure(self.beside(case, Target::Nginx)?, place)?;
        Some(self.figure(case, place)? / yardstick).filter(|ratio| ratio.is_finite())
    }

    /// Tables for people.
    pub(crate) fn text(&self) -> String {
        let mut rows = vec![self.head()];
        rows.extend(self.cases.iter().map(|(case, _)| self.row(case)));
        let mut out = String::new();
        if !self.cases.is_empty() {
            out += "In brackets: times what nginx takes in the same run.\n\n";
            out += &table(&rows);
        }
        if !self.facts.is_empty() {
            out += "\n";
            out += &table(&self.fact_rows());
        }
        out
    }

    fn head(&self) -> Vec<String> {
        let heads = FIGURES.iter().map(|(_, head, _)| (*head).to_owned());
        ["case".to_owned(), "target".to_owned()]
            .into_iter()
            .chain(heads)
            .collect()
    }

    fn row(&self, case: &Case) -> Vec<String> {
        let mut row = vec![case.name(), case.target.to_string()];
        for place in 0..FIGURES.len() {
            row.push(match (self.figure(case, place), self.ratio(case, place)) {
                (None, _) => String::new(),
                (Some(figure), Some(ratio)) => format!("{} ({ratio:.2})", short(figure)),
                (Some(figure), None) => short(figure),
            });
        }
        row
    }

    fn fact_rows(&self) -> Vec<Vec<String>> {
        let heads = [
            "target",
            "start ms",
            "size MiB",
            "idle MiB",
            "peak MiB",
            "after MiB",
            "failed",
        ];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        for target in self.facts.keys() {
            let facts = self.fact(*target);
            let mut row = vec![target.to_string()];
            row.extend(
                facts
                    .values()
                    .map(|value| value.as_f64().map_or(String::new(), short)),
            );
            rows.push(row);
        }
        rows
    }

    fn fact(&self, target: Target) -> Map<String, Value> {
        let all = self
            .facts
            .get(&target)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let middle = |figure: &dyn Fn(&Facts) -> Option<f64>| {
            json!(median(all.iter().filter_map(figure).collect()))
        };
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let figures = [
            (
                "start_ms",
                middle(&|facts| Some(facts.start.as_secs_f64() * 1e3)),
            ),
            ("size_mib", middle(&|facts| Some(mebibytes(facts.size)))),
            ("idle_mib", middle(&|facts| Some(mebibytes(facts.idle)))),
            ("peak_mib", middle(&|facts| Some(mebibytes(facts.peak)))),
            ("after_mib", middle(&|facts| facts.after.map(mebibytes))),
            (
                "failed",
                json!(all.iter().map(|facts| facts.failed).sum::<u64>()),
            ),
        ];
        figures
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect()
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let cases: Vec<Value> = self.cases.iter().map(|(case, samples)| {
            let mut figures = Map::new();
            for (place, (name, _, _)) in FIGURES.iter().enumerate() {
                if let Some(figure) = self.figure(case, place) {
                    figures.insert((*name).to_owned(), json!(figure));
                }
                if let Some(ratio) = self.ratio(case, place) {
                    figures.insert(format!("{name}_to_nginx"), json!(ratio));
                }
            }
            json!({"case": case.name(), "target": case.target.to_string(), "runs": samples.len(), "figures": figures})
        }).collect();
        let facts: Map<String, Value> = self
            .facts
            .keys()
            .map(|target| (target.to_string(), Value::Object(self.fact(*target))))
            .collect();
        json!({"cases": cases, "processes": facts})
    }
}

fn percentile(times: &mut [u64], share: f64) -> Option<u64> {
    times.sort_unstable();
    let last = times.len().checked_sub(1)?;
    times.get((last as f64 * share).round() as usize).copied()
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let upper = *figures.get(figures.len() / 2)?;
    let lower = *figures.get(figures.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// Three digits that count.
fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 || figure == figure.trunc() => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// Columns that stand below each other, the first two to the left.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a `String` does not fail.
            let _ = match column {
                0 | 1 => write!(out, "{cell:<width$}  "),
                _ => write!(out, "{cell:>width$}  "),
            };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}
