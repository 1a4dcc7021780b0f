//! Figures, for programs that watch.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of figure it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, from 0 when the node began to serve.
    Counter,
    /// How many values were at most so great.
    Histogram,
}

/// One value of a figure.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// What it is about, by name.
    pub labels: BTreeMap<String, String>,
    /// Of a gauge or counter; of a histogram the sum of all values.
    pub value: f64,
    /// Of a histogram: how many values there were.
    pub count: u64,
    /// Of a histogram: bounds, and how many values were above the one before and at most this one. Further values were above all.
    pub buckets: Vec<(f64, u64)>,
}

/// One figure.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Metric {
    /// Its name, without what the text format adds.
    pub name: String,
    /// What it says, with its unit.
    pub help: String,
    /// What kind it is.
    pub kind: MetricKind,
    /// One for each set of labels.
    pub samples: Vec<Sample>,
}

impl Metric {
    /// A figure with one value.
    pub fn one(kind: MetricKind, name: &str, help: &str, value: f64) -> Self {
        Self::of(kind, name, help, vec![(Vec::new(), value)])
    }

    /// A figure with a value for each set of labels.
    pub fn of(kind: MetricKind, name: &str, help: &str, values: Vec<(Vec<(&str, String)>, f64)>) -> Self {
        let sample = |(labels, value): (Vec<(&str, String)>, f64)| Sample {
            labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            value,
            count: 0,
            buckets: Vec::new(),
        };
        Self {
            name: name.to_owned(),
            help: help.to_owned(),
            kind,
            samples: values.into_iter().map(sample).collect(),
        }
    }
}
