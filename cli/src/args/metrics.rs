//! What is asked for Prometheus: `metrics` and its verbs.

use clap::Subcommand;

/// Where the figures themselves are.
pub(super) const NEXT: &str = "\
The figures themselves are at /metrics of a serving node, for whoever has its
token. For a Prometheus on this host:

  wfengine metrics scrape > wfengine-scrape.yml
  wfengine metrics alerts > wfengine-alerts.yml";

/// Files for Prometheus.
#[derive(Subcommand, Debug)]
pub(crate) enum MetricsVerb {
    /// Print alert rules
    Alerts,
    /// Print the part of a configuration that reads the node serving here
    Scrape,
}
