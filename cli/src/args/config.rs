//! What is asked of the configuration: `config` and its verbs.

use clap::{Args, Subcommand};

use super::ServingArgs;

/// How the verbs of `config` belong together.
pub(super) const NEXT: &str = "\
A value is taken from the first that says one: the option of `serve`, the
variable WFENGINE_TABLE_KEY, the file, the default. The file is config.toml
in the data directory; --config or WFENGINE_CONFIG names another:

  [http]
  port = 9000
  allowed_origins = [\"https://pages.example\"]

A node reads it when it starts.";

/// What this host's node is told.
#[derive(Subcommand, Debug)]
pub(crate) enum ConfigVerb {
    /// Print every key with its value, its range and who says it
    Show(ConfigShowArgs),
    /// Say everything that is wrong in the file and in the environment
    Check,
}

#[derive(Args, Debug)]
pub(crate) struct ConfigShowArgs {
    #[command(flatten, next_help_heading = "Options of `serve`, to see what they would change")]
    pub(crate) serving: ServingArgs,
}
