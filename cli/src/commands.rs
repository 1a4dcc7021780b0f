//! One file per verb or group of verbs: from arguments to a request, from an answer to text.

mod config;
mod demo;
mod discover;
mod doctor;
mod example;
mod explain;
mod inspect;
mod interrupt;
mod join;
mod local;
mod log;
mod logs;
mod mcp;
mod metrics;
mod notify;
mod peer;
mod replay;
mod run;
mod runner;
mod schema;
mod serve;
mod shell;
mod steer;
mod submit;
mod task;
mod watch;
mod work;

use std::path::PathBuf;

use wfengine_api::{Exit, Failure};

use crate::args::{Cli, Verb};
use crate::door::{Door, Others, Serving};
use crate::terminal;
pub(crate) use demo::DemoDocument;
pub(crate) use doctor::Finding;
pub(crate) use run::{actor, read_source};
#[cfg(test)]
pub(crate) use schema::verbs;

/// How long a command that has ended stays for others before it says so.
const STAY_UNSAID: std::time::Duration = std::time::Duration::from_millis(500);

/// What every verb needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Globals {
    pub(crate) json: bool,
    pub(crate) data_dir: Option<PathBuf>,
    /// The node's configuration file, if one is named.
    pub(crate) config: Option<PathBuf>,
    /// A node elsewhere, if one is meant.
    pub(crate) node: Option<String>,
    pub(crate) token: Option<String>,
}

impl Globals {
    /// Refuses what has to be done where it is asked.
    fn only_here(&self, verb: &str) -> Result<(), Failure> {
        match &self.node {
            None => Ok(()),
            Some(node) => Err(Failure::bad_input(format!(
                "`{verb}` is of the host on which it is typed, and --node {node} names another: leave it out (WFENGINE_NODE as well), or type it there"
            ))),
        }
    }
}

/// Runs one verb.
pub(crate) async fn run(cli: Cli) -> Result<Exit, Failure> {
    cli.color.choose();
    let globals = Globals {
        json: cli.json,
        data_dir: cli.data_dir,
        config: cli.config.filter(|file| !file.as_os_str().is_empty()),
        node: cli.node.filter(|node| !node.is_empty()),
        token: cli.token,
    };
    match cli.verb {
        Verb::Run(args) => run::run(&globals, args).await,
        Verb::Submit(args) => submit::submit(&globals, args).await,
        Verb::List(args) => inspect::list(&globals, args).await,
        Verb::Show(args) => inspect::show(&globals, args).await,
        Verb::Logs(args) => logs::logs(&globals, args).await,
        Verb::Cancel(args) => steer::cancel(&globals, args).await,
        Verb::Rerun(args) => steer::rerun(&globals, args).await,
        Verb::Priority(args) => steer::priority(&globals, args).await,
        Verb::Why(args) => explain::why(&globals, args).await,
        Verb::Owner(args) => explain::owner(&globals, args).await,
        Verb::Distance(args) => explain::distance(&globals, &args),
        Verb::Task(verb) => task::task(&globals, verb).await,
        Verb::Work(args) => work::work(&globals, args).await,
        Verb::Discover(verb) => discover::discover(&globals, verb).await,
        Verb::Runner(verb) => runner::runner(&globals, verb).await,
        Verb::Tags => shell::tags(&globals),
        Verb::CheckTags(args) => shell::check_tags(&globals, &args),
        Verb::Init(args) => local::init(&globals, args).await,
        Verb::Serve(args) => serve::serve(&globals, args).await,
        Verb::Peer(verb) => peer::peer(&globals, verb).await,
        Verb::Config(verb) => config::config(&globals, verb),
        Verb::Doctor(args) => doctor::doctor(&globals, args).await,
        Verb::Notify(verb) => notify::notify(&globals, verb).await,
        Verb::Allow(args) => local::allow(&globals, args).await,
        Verb::Sync(args) => local::sync(&globals, args).await,
        Verb::Pause => local::pause(&globals, true).await,
        Verb::Resume => local::pause(&globals, false).await,
        Verb::Status(watch) => local::status(&globals, watch).await,
        Verb::Clock => local::clock(&globals).await,
        Verb::Replay(args) => replay::replay(&globals, args).await,
        Verb::Log(verb) => log::log(&globals, verb).await,
        Verb::Example(args) => example::example(&globals, &args),
        Verb::Demo(args) => demo::demo(&globals, args).await,
        Verb::Mcp(args) => mcp::mcp(&globals, args).await,
        Verb::Metrics(verb) => metrics::metrics(&globals, verb).await,
        Verb::Import(verb) => crate::old_names::import(&globals, verb).await,
        Verb::As(args) => crate::old_names::run(&globals, args).await,
        Verb::Completions(args) => shell::completions(&args),
        Verb::Schema(args) => schema::schema(&globals, &args),
        Verb::Man(args) => shell::man(&args),
    }
}

/// Opens the door, asks through it, and closes it, whatever the answer is.
pub(crate) async fn through<T, F>(globals: &Globals, ask: impl FnOnce(Door) -> F) -> Result<T, Failure>
where
    F: Future<Output = (Door, Result<T, Failure>)>,
{
    let door = Door::open(globals, Others::Wait).await?;
    let (door, answer) = ask(door).await;
    let closed = door.close();
    let answer = answer?;
    closed?;
    Ok(answer)
}

/// As [`through`], for commands that take long: others that come meanwhile go through this process, and it stays until theirs
/// have ended.
pub(crate) async fn serving<T, F>(globals: &Globals, ask: impl FnOnce(Door) -> F) -> Result<T, Failure>
where
    F: Future<Output = (Door, Result<T, Failure>)>,
{
    let door = Door::open(globals, Others::Served).await?;
    let (door, answer) = ask(door).await;
    let left = leave(&door).await;
    let answer = answer?;
    left?;
    Ok(answer)
}

/// Ends a door that others may go through: once theirs have ended.
async fn leave(door: &Door) -> Result<(), Failure> {
    if let (Some(Serving { stop, mut server }), Some(node)) = (door.take_serving(), door.node()) {
        node.leave();
        let _ = stop.send(());
        let mut interrupts = interrupt::Interrupts::listen()?;
        let noted = async {
            tokio::time::sleep(STAY_UNSAID).await;
            terminal::note(
                "other commands still go through this one: it ends with them, or at a signal, which stops them",
            );
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = &mut server => {}
            _ = interrupts.next() => node.give_up().await,
            () = noted => {}
        }
    }
    door.close()
}

/// Asks one question.
pub(crate) async fn call<T: serde::de::DeserializeOwned>(
    globals: &Globals,
    request: wfengine_api::Request,
) -> Result<T, Failure> {
    through(globals, async |door| {
        let answer = door.call(request).await;
        (door, answer)
    })
    .await
}
