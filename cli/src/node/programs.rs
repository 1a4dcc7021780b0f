//! Outside programs that wait for tasks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use wfengine_core::ownership::Token;
use wfengine_core::scheduler::{Execution, ProgramAsk, ProgramId};
use wfengine_storage_format::{EventId, JobId, RunId};

use super::{Mode, Node, held};

/// Calls for what is due before a program is answered; each looks at thousands of jobs.
const DUE_MAX: usize = 1024;

/// A task that was handed to a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) run: RunId,
    pub(crate) job: JobId,
    pub(crate) claim: EventId,
    pub(crate) token: Token,
}

/// Which task a program wants.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// It has to carry all of these tags.
    pub(crate) tags: Vec<String>,
    /// It has to be this one.
    pub(crate) only: Option<RunId>,
    /// How long the program may hold it without extending.
    pub(crate) lease: Duration,
    /// Whether the program waits until there is one.
    pub(crate) waits: bool,
}

/// The programs whose question is open.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    next: u64,
    answers: BTreeMap<ProgramId, oneshot::Sender<Option<Handed>>>,
}

/// Withdraws a question when whoever asked goes away, and gives back what was handed out in that moment.
struct Question<'a> {
    node: &'a Node,
    program: ProgramId,
    answered: oneshot::Receiver<Option<Handed>>,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if held(&self.node.programs).answers.remove(&self.program).is_some() {
            let program = self.program;
            self.node.schedule(|scheduler, views, now| scheduler.handle_program_gone(views, program, now));
        }
        if let Ok(Some(handed)) = self.answered.try_recv() {
            self.node.report(handed.claim, Execution::GivenBack);
        }
    }
}

impl Node {
    /// Takes the next task this node may claim; `None` when there is none and the program does not wait.
    pub(crate) async fn next_task(&self, wanted: Wanted) -> Option<Handed> {
        // what was submitted before is offered, however soon after it this is asked
        self.all_told().await;
        if self.mode != Mode::Command {
            return self.next_offered(wanted).await;
        }
        let lease = wanted.lease;
        let mut next_end = self.end_leases().await;
        let offered = self.next_offered(wanted);
        tokio::pin!(offered);
        loop {
            // what earlier commands handed out comes back while this one waits
            let ends = async {
                match next_end {
                    Some(rest) => tokio::time::sleep(rest).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                handed = &mut offered => {
                    if let Some(handed) = &handed {
                        self.keep_lease(handed.claim, lease);
                    }
                    return handed;
                }
                () = ends => next_end = self.end_leases().await,
            }
        }
    }

    async fn next_offered(&self, wanted: Wanted) -> Option<Handed> {
        let (answer, answered) = oneshot::channel();
        let program = {
            let mut waiting = held(&self.programs);
            waiting.next += 1;
            let program = ProgramId(waiting.next);
            waiting.answers.insert(program, answer);
            program
        };
        let mut question = Question { node: self, program, answered };
        let Wanted { tags, only, lease, waits } = wanted;
        let ask = ProgramAsk { program, tags, only, lease, waits };
        self.schedule(|scheduler, views, now| {
            // what is due comes first: a node that was just opened has not looked at its jobs yet
            for _ in 0..DUE_MAX {
                if scheduler.poll_timeout() > now.monotonic {
                    break;
                }
                scheduler.handle_timer(views, now);
            }
            scheduler.handle_program(views, ask, now);
        });
        let handed = (&mut question.answered).await.ok().flatten();
        drop(question);
        if let Some(handed) = handed {
            self.report(handed.claim, Execution::Started);
        }
        handed
    }

    /// Tells the scheduler what became of a claim's execution.
    pub(crate) fn report(&self, claim: EventId, report: Execution) {
        self.schedule(|scheduler, views, now| scheduler.handle_execution(views, claim, report, now));
    }
}

pub(super) fn hand(node: &Arc<Node>, program: ProgramId, handed: Handed) {
    let answer = held(&node.programs).answers.remove(&program);
    let unheard = match answer {
        Some(answer) => answer.send(Some(handed)).is_err(),
        None => true,
    };
    if unheard {
        node.report(handed.claim, Execution::GivenBack);
    }
}

pub(super) fn nothing_for(node: &Arc<Node>, program: ProgramId) {
    if let Some(answer) = held(&node.programs).answers.remove(&program) {
        let _ = answer.send(None);
    }
}
