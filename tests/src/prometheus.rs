//! Reads what Prometheus reads, and is as strict as its own `promtool check metrics`: whatever it would complain about
//! is an error here.

use std::collections::{BTreeMap, BTreeSet};

/// All samples of one answer.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    samples: Vec<Sample>,
    /// `counter`, `gauge` or `histogram`, by the name of the metric.
    pub kinds: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    /// Reads an answer in the format 0.0.4, or in OpenMetrics.
    #[track_caller]
    pub fn read(text: &str) -> Scrape {
        let open_metrics = text.ends_with("# EOF\n");
        let mut scrape = Scrape::default();
        let mut helped = BTreeSet::new();
        let mut current = String::new();
        for line in text.lines() {
            let fail = |why: &str| -> ! { panic!("{why}: {line:?}") };
            if line == "# EOF" && open_metrics {
                continue;
            }
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or_else(|| fail("no help"));
                if help.is_empty() || !helped.insert(name.to_owned()) {
                    fail("empty or second help");
                }
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or_else(|| fail("no type"));
                if !helped.contains(name) || scrape.kinds.insert(name.to_owned(), kind.to_owned()).is_some() {
                    fail("type without help before it, or a second one");
                }
                if !["counter", "gauge", "histogram"].contains(&kind) {
                    fail("unknown type");
                }
                current = name.to_owned();
            } else {
                let sample = sample(line);
                let kind = scrape.kinds.get(&current).map_or("", String::as_str);
                let endings: &[&str] = match kind {
                    "histogram" => &["_bucket", "_sum", "_count"],
                    "counter" if open_metrics => &["_total"],
                    _ => &[""],
                };
                let is_of_current = endings.iter().any(|ending| sample.name == format!("{current}{ending}"));
                if !is_of_current {
                    fail("not below its type");
                }
                if kind == "counter" && (sample.value < 0.0 || !sample.name.ends_with("_total")) {
                    fail("no counter");
                }
                let is_second = |other: &Sample| other.name == sample.name && other.labels == sample.labels;
                if scrape.samples.iter().any(is_second) {
                    fail("a second sample with the same labels");
                }
                scrape.samples.push(sample);
            }
        }
        scrape.check_histograms();
        scrape
    }

    /// The only sample of this name with these labels, among whatever others.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.values(name, labels);
        match found[..] {
            [value] => value,
            _ => panic!("{name} {labels:?}: {found:?}"),
        }
    }

    /// All samples of this name with these labels, among whatever others.
    pub fn values(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let wanted = |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|found| found == value);
            sample.name == name && labels.iter().all(has)
        };
        self.samples.iter().filter(wanted).map(|sample| sample.value).collect()
    }

    /// All values of a label of a metric.
    pub fn labels(&self, name: &str, label: &str) -> BTreeSet<String> {
        let samples = self.samples.iter().filter(|sample| sample.name == name);
        samples.filter_map(|sample| sample.labels.get(label).cloned()).collect()
    }

    /// Names of everything that only goes up, with labels, and where it stands.
    pub fn counters(&self) -> BTreeMap<String, f64> {
        let goes_up = |sample: &&Sample| {
            let endings = ["_total", "_bucket", "_count", "_sum"];
            endings.iter().any(|ending| sample.name.ends_with(ending))
        };
        let named = |sample: &Sample| (format!("{}{:?}", sample.name, sample.labels), sample.value);
        self.samples.iter().filter(goes_up).map(named).collect()
    }

    /// Buckets do not fall, end with `+Inf`, and agree with the count.
    #[track_caller]
    fn check_histograms(&self) {
        let histograms = self.kinds.iter().filter(|(_, kind)| *kind == "histogram");
        for (name, _) in histograms {
            let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
            let bucket = format!("{name}_bucket");
            for sample in self.samples.iter().filter(|sample| sample.name == bucket) {
                let mut labels = sample.labels.clone();
                let bound = labels.remove("le").expect("a bucket has a bound");
                let bound = bound.replace("+Inf", "inf").parse().expect("a bound is a number");
                series.entry(labels).or_default().push((bound, sample.value));
            }
            for (labels, buckets) in series {
                let rises = buckets
                    .windows(2)
                    .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
                assert!(rises, "{name}{labels:?}: {buckets:?}");
                let last = buckets.last().expect("at least one");
                let of = |ending: &str| {
                    let name = format!("{name}{ending}");
                    let same = |sample: &&Sample| sample.name == name && sample.labels == labels;
                    let found = self.samples.iter().find(same);
                    found.unwrap_or_else(|| panic!("{name}{labels:?} is missing")).value
                };
                assert_eq!((last.0, last.1), (f64::INFINITY, of("_count")), "{name}{labels:?}");
                assert!(of("_sum") >= 0.0);
            }
        }
    }
}

#[track_caller]
fn sample(line: &str) -> Sample {
    let name_end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line:?}"));
    let (name, rest) = line.split_at(name_end);
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !name.is_empty();
    assert!(is_name, "no name: {line:?}");
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest, line),
        None => (BTreeMap::new(), rest),
    };
    let value = value.strip_prefix(' ').and_then(|value| value.parse().ok());
    Sample {
        name: name.to_owned(),
        labels,
        value: value.unwrap_or_else(|| panic!("no number: {line:?}")),
    }
}

/// Labels behind the opening bracket, and what is behind the closing one.
#[track_caller]
fn labels<'a>(mut rest: &'a str, line: &str) -> (BTreeMap<String, String>, &'a str) {
    let mut labels = BTreeMap::new();
    loop {
        let (name, behind) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line:?}"));
        let mut value = String::new();
        let mut characters = behind.char_indices();
        let end = loop {
            match characters.next() {
                Some((end, '"')) => break end,
                Some((_, '\\')) => match characters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                    other => panic!("escape {other:?}: {line:?}"),
                },
                Some((_, other)) => value.push(other),
                None => panic!("a label without end: {line:?}"),
            }
        };
        assert!(
            labels.insert(name.to_owned(), value).is_none(),
            "a label twice: {line:?}"
        );
        rest = &behind[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    let behind = rest
        .strip_prefix('}')
        .unwrap_or_else(|| panic!("no end of labels: {line:?}"));
    (labels, behind)
}
