//! The numbers of `/metrics`, as OTLP: under the same names, cumulative, from the same text, so that both always tell the same.
//!
//! `prometheus-client` gives its numbers out as text alone (its other format wants `protoc` at build time), and reading that once a minute
//! costs nothing that matters.

use super::wire::{Message, Said, attribute};

/// Aggregation temporality: each point counts from the start of the process.
const CUMULATIVE: u64 = 2;

/// Fields of a point, of a number and of a histogram.
const NUMBER_LABEL: u32 = 7;
const HISTOGRAM_LABEL: u32 = 9;

/// The span of time that a point counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    /// When the process began, in nanoseconds since 1970.
    pub(super) since: u64,
    /// Now.
    pub(super) now: u64,
}

/// One family of numbers.
#[derive(Debug, Default)]
struct Family<'t> {
    name: &'t str,
    help: &'t str,
    kind: &'t str,
    samples: Vec<Sample<'t>>,
}

/// One line: `name{label="value"} 1`.
#[derive(Debug)]
struct Sample<'t> {
    name: &'t str,
    labels: Vec<(&'t str, String)>,
    value: &'t str,
}

/// Writes every family of `text`, which `/metrics` tells, as a `field` of `message`.
pub(super) fn write(message: &mut Message, field: u32, text: &str, counted: Counted) {
    for family in families(text) {
        if !family.samples.is_empty() {
            message.message(field, |metric| family.write(metric, counted));
        }
    }
}

fn families(text: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    let mut help = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            families.push(Family {
                name,
                help,
                kind,
                samples: Vec::new(),
            });
        } else if let (Some(family), Some(sample)) = (families.last_mut(), Sample::read(line)) {
            family.samples.push(sample);
        }
    }
    families
}

impl Family<'_> {
    fn write(&self, metric: &mut Message, counted: Counted) {
        metric.text(1, self.name);
        metric.text(2, self.help);
        match self.kind {
            "histogram" => {
                metric.text(3, "s");
                metric.message(9, |histogram| {
                    self.write_histograms(histogram, counted);
                    histogram.number(2, CUMULATIVE);
                });
            }
            "counter" => {
                metric.message(7, |sum| {
                    self.write_numbers(sum, counted);
                    sum.number(2, CUMULATIVE);
                    sum.number(3, 1);
                });
            }
            // No unit: Prometheus would call a gauge of unit "1" a `_ratio`.
            _ => metric.message(5, |gauge| self.write_numbers(gauge, counted)),
        }
    }

    fn write_numbers(&self, points: &mut Message, counted: Counted) {
        for sample in &self.samples {
            points.message(1, |point| {
                counted.write(point);
                match (sample.value.parse::<i64>(), sample.value.parse()) {
                    (Ok(whole), _) => point.fixed64(6, whole.cast_unsigned()),
                    (Err(_), Ok(number)) => point.double(4, number),
                    (Err(_), Err(_)) => {}
                }
                sample.write_labels(point, NUMBER_LABEL);
            });
        }
    }

    /// Each histogram stands as its sum, its count, and its buckets in rising order; in each of those are all of the ones before it.
    fn write_histograms(&self, points: &mut Message, counted: Counted) {
        let mut rest = self.samples.as_slice();
        while let Some(first) = rest.first() {
            let is_same = |sample: &&Sample<'_>| sample.is_like(first);
            let length = rest.iter().take_while(is_same).count();
            let (point, others) = rest.split_at(length.max(1));
            rest = others;
            points.message(1, |message| write_histogram(message, point, counted));
        }
    }
}

fn write_histogram(message: &mut Message, samples: &[Sample<'_>], counted: Counted) {
    counted.write(message);
    let ends = |suffix: &'static str| {
        let is_it = move |sample: &&Sample<'_>| sample.name.ends_with(suffix);
        samples.iter().filter(is_it)
    };
    let count = ends("_count").find_map(|sample| sample.value.parse().ok());
    let sum = ends("_sum").find_map(|sample| sample.value.parse().ok());
    message.fixed64(4, count.unwrap_or_default());
    message.double(5, sum.unwrap_or_default());
    let (mut bounds, mut counts, mut before) = (Vec::new(), Vec::new(), 0);
    for bucket in ends("_bucket") {
        let all: u64 = bucket.value.parse().unwrap_or(before);
        counts.push(all.saturating_sub(before));
        before = all;
        let bound = bucket.label("le").and_then(|le| le.parse::<f64>().ok());
        bounds.extend(bound.filter(|bound| bound.is_finite()));
    }
    message.packed64(6, counts.into_iter());
    message.packed64(7, bounds.into_iter().map(f64::to_bits));
    if let Some(first) = samples.first() {
        first.write_labels(message, HISTOGRAM_LABEL);
    }
}

impl Counted {
    fn write(self, point: &mut Message) {
        point.fixed64(2, self.since);
        point.fixed64(3, self.now);
    }
}

impl<'t> Sample<'t> {
    fn read(line: &'t str) -> Option<Self> {
        let (head, value) = line.rsplit_once(' ')?;
        let (name, labels) = match head.split_once('{') {
            Some((name, rest)) => (name, labels(rest)),
            None => (head, Vec::new()),
        };
        Some(Self {
            name,
            labels,
            value,
        })
    }

    fn label(&self, wanted: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        let found = labels.find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether both are parts of one histogram.
    fn is_like(&self, other: &Self) -> bool {
        let own = |sample: &'_ Self| {
            let labels = sample.labels.iter().filter(|(name, _)| *name != "le");
            labels.cloned().collect::<Vec<_>>()
        };
        own(self) == own(other)
    }

    fn write_labels(&self, point: &mut Message, field: u32) {
        for (name, value) in self.labels.iter().filter(|(name, _)| *name != "le") {
            attribute(point, field, name, Said::Text(value));
        }
    }
}

/// The labels of a line behind its brace, each value without its escapes.
fn labels(mut rest: &str) -> Vec<(&str, String)> {
    let mut labels = Vec::new();
    while let Some((name, value)) = rest.trim_start_matches(',').split_once("=\"") {
        let mut text = String::new();
        let mut chars = value.char_indices();
        let mut end = value.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, escaped)) => text.push(escaped),
                    None => {}
                },
                c => text.push(c),
            }
        }
        labels.push((name, text));
        rest = value.get(end..).unwrap_or_default();
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_with_their_escapes() {
        let line = r#"n{a="x",b="say \"hi\\\", }\n",c=""} 3"#;

        let sample = Sample::read(line).unwrap();

        let b = "say \"hi\\\", }\n".to_owned();
        assert_eq!(
            sample.labels,
            [("a", "x".to_owned()), ("b", b), ("c", String::new())]
        );
        assert_eq!((sample.name, sample.value), ("n", "3"));
    }

    #[test]
    fn histograms_with_other_labels_are_told_apart() {
        let text = "# HELP h_seconds Waits.\n# TYPE h_seconds histogram\n\
            h_seconds_sum{m=\"a\"} 1.5\nh_seconds_count{m=\"a\"} 2\n\
            h_seconds_bucket{le=\"1\",m=\"a\"} 1\nh_seconds_bucket{le=\"+Inf\",m=\"a\"} 2\n\
            h_seconds_sum{m=\"b\"} 0\nh_seconds_count{m=\"b\"} 0\n";

        let families = families(text);

        assert_eq!(families.len(), 1);
        assert_eq!(
            (families[0].help, families[0].kind),
            ("Waits.", "histogram")
        );
        let like = |at: usize| families[0].samples[at].is_like(&families[0].samples[0]);
        assert_eq!([like(3), like(4)], [true, false]);
    }
}
