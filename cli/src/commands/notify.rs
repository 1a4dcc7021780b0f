//! `notify test`: one notification by every way that is configured, from this process, whether a node serves or not.

use wfengine_api::{Exit, Failure};

use super::Globals;
use crate::args::NotifyVerb;
use crate::clock::Clock;
use crate::config::Config;
use crate::documents::{NotifiedDocument, WayDocument};
use crate::home::Home;
use crate::notify::{self, Named, Notification};
use crate::terminal;

pub(super) async fn notify(globals: &Globals, verb: NotifyVerb) -> Result<Exit, Failure> {
    globals.only_here("notify")?;
    match verb {
        NotifyVerb::Test => test(globals).await,
    }
}

async fn test(globals: &Globals) -> Result<Exit, Failure> {
    let config = Config::load(globals, Vec::new())?;
    let wanted = config.notify()?;
    if wanted.command.is_empty() && wanted.webhook.is_empty() {
        return Err(Failure::bad_input(format!(
            "nobody is to be notified: set notify.command, or notify.webhook with notify.secret_file, in {}",
            config.file.display()
        )));
    }
    let home = Home::open(globals.data_dir.clone())?;
    let node = Named { name: home.name()?, id: home.peer_id().to_string() };
    let cluster = home.data.current_cluster()?.map(|cluster| cluster.to_string()).unwrap_or_default();
    let text = "this is a test: `wfengine notify test` was typed".to_owned();
    let notification = Notification::new("test", node, cluster, text, Clock::start().wall().0)?;
    let outcomes = notify::try_once(&wanted, &notification).await?;
    if globals.json {
        let ways: Vec<_> = outcomes
            .iter()
            .map(|(way, outcome)| WayDocument {
                way: way.to_string(),
                ok: outcome.is_ok,
                status: outcome.status,
                says: outcome.says.clone(),
                took_ms: outcome.took_ms,
            })
            .collect();
        let is_ok = outcomes.iter().all(|(_, outcome)| outcome.is_ok);
        terminal::json(&NotifiedDocument { ok: is_ok, delivery: notification.id.clone(), ways });
    } else {
        for (way, outcome) in &outcomes {
            let word = if outcome.is_ok { "ok" } else { "fail" };
            terminal::line(&format!("{word:<4}  {way}: {} ({} ms)", outcome.says, outcome.took_ms));
        }
    }
    Ok(match outcomes.iter().find(|(_, outcome)| !outcome.is_ok) {
        None => Exit::Success,
        // nobody answered at all
        Some((_, outcome)) if outcome.status.is_none() && outcome.may_retry => Exit::Unreachable,
        Some(_) => Exit::Failure,
    })
}
