//! What is asked of notifications: `notify` and its verbs.

use clap::Subcommand;

/// How notifications are told what to do.
pub(super) const NEXT: &str = "\
A serving node tells of the end of runs that were submitted on it, and of
alarms. Whom, is in its configuration (`wfengine config show`):

  [notify]
  command = [\"/usr/local/bin/tell-me\", \"--quietly\"]
  webhook = \"https://hooks.example/wfengine\"
  secret_file = \"/etc/wfengine/webhook-secret\"
  events = [\"run.failed\", \"conflict\", \"disk.low\", \"node.left\"]";

/// Notifications.
#[derive(Subcommand, Debug)]
pub(crate) enum NotifyVerb {
    /// Send one to every way that is configured, and say what came back
    Test,
}
