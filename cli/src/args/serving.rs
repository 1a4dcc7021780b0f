//! What is asked of a node that serves. What is left out here is as the configuration says, see [`crate::config`].

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Go into the background once the node answers
    #[arg(long)]
    pub(crate) background: bool,
    #[command(flatten)]
    pub(crate) serving: ServingArgs,
}

/// How a node serves. What is left out is as the configuration says (`wfengine config show`).
#[derive(Args, Debug, Clone)]
pub(crate) struct ServingArgs {
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// Jobs at once [default: the number of processors]
    #[arg(long)]
    pub(crate) slots: Option<u32>,
    /// How long running jobs may go on after a stop signal [default: 5m]
    #[arg(long)]
    pub(crate) grace: Option<String>,
    /// Say more of what the autoscaler does, where `runner start` turned it on
    #[arg(long)]
    pub(crate) verbose: bool,
}

/// A serving node's door for programs.
#[derive(Args, Debug, Clone)]
pub(crate) struct HttpArgs {
    /// Where programs ask over HTTP; the next free port if it is taken; an address that other hosts reach needs --http-cert
    /// [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) http: Option<String>,
    /// Answer no HTTP
    #[arg(long)]
    pub(crate) no_http: bool,
    /// PEM file with the certificate, and those between it and its authority: speak TLS
    #[arg(long, value_name = "FILE")]
    pub(crate) http_cert: Option<PathBuf>,
    /// PEM file with the certificate's key
    #[arg(long, value_name = "FILE")]
    pub(crate) http_key: Option<PathBuf>,
    /// Answer under this name too, as a proxy or tunnel in front of it is called; repeat for more
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) http_host: Vec<String>,
    /// Let pages of this origin ask; repeat for more
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) http_origin: Vec<String>,
}

/// How a serving node is on the network.
#[derive(Args, Debug, Clone)]
pub(crate) struct NetworkArgs {
    /// UDP address to listen on when serving; the next free port if it is taken
    #[arg(
        long,
        value_name = "ADDR:PORT",
        help = "UDP address to listen on when serving; the next free port if it is taken [default: [::]:4433]"
    )]
    pub(crate) listen: Option<String>,
    /// Neither announce this node on the local network nor look for members there
    #[arg(long)]
    pub(crate) no_lan: bool,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
}

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Ask GitHub nothing
    #[arg(long)]
    pub(crate) offline: bool,
}
