//! The values that answers are made of: what `--json` prints. Field names are stable; fields may be added.
//!
//! The comments on their fields are the descriptions in their JSON schemas.

mod cluster;
mod discovery;
mod history;
mod metrics;
pub mod runners;
mod runs;

pub use cluster::{
    AllowView, ClockView, DigestView, DocumentsView, Imported, InviteView, PeerView, PeersView, StatusView,
    SyncPeer, SyncView,
};
pub use discovery::{DiscoveryView, FoundView, SchedulerView, WatchView};
pub use history::{Changed, EventLine, FollowedEvent, HistoryView};
pub use metrics::{Metric, MetricKind, Sample};
pub use runs::{
    ClaimView, JobView, OwnerView, Progress, RankView, RunView, RunsView, Submitted, TaskView, WhyView,
    in_file_order,
};
