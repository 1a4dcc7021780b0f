//! `/metrics`: the node's figures in the text format that Prometheus reads.

use axum::extract::State;
use axum::http::header::{self, HeaderValue};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::{Shared, problem};
use crate::answers::{Metric, MetricKind, Sample};
use crate::failure::{Exit, Failure};
use crate::request::Request;

/// Figures that somebody else has counted.
#[derive(Debug)]
struct Counted(Vec<Metric>);

fn encode(one: &mut MetricEncoder<'_>, kind: MetricKind, sample: &Sample) -> Result<(), std::fmt::Error> {
    match kind {
        MetricKind::Gauge => one.encode_gauge(&sample.value),
        MetricKind::Counter => one.encode_counter::<NoLabelSet, _, u64>(&sample.value, None),
        MetricKind::Histogram => {
            let bounded: u64 = sample.buckets.iter().map(|(_, count)| count).sum();
            let mut buckets = sample.buckets.clone();
            buckets.push((f64::INFINITY, sample.count.saturating_sub(bounded)));
            one.encode_histogram::<NoLabelSet>(sample.value, sample.count, &buckets, None)
        }
    }
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for metric in &self.0 {
            let kind = match metric.kind {
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(&metric.name, &metric.help, None, kind)?;
            for sample in &metric.samples {
                let labels: Vec<(&str, &str)> =
                    sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                if labels.is_empty() {
                    encode(&mut family, metric.kind, sample)?;
                } else {
                    encode(&mut family.encode_family(&labels)?, metric.kind, sample)?;
                }
            }
        }
        Ok(())
    }
}

pub(super) async fn metrics(State(shared): State<Shared>) -> Response {
    let counted: Vec<Metric> = match shared.handlers.ask(Request::Metrics).await {
        Ok(counted) => counted,
        Err(failure) => return problem::of(&failure),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Counted(counted)));
    let mut told = String::new();
    if text::encode(&mut told, &registry).is_err() {
        return problem::of(&Failure::new(Exit::Failure, "BUG: the figures are no text"));
    }
    let mut response = told.into_response();
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
