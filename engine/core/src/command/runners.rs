//! Commands about runners: pools that are turned on and off, and the life of each runner from intent to removal.
//!
//! What a fold would show in vain is refused here. Foreign events are not looked at: two members that intended one name at one time
//! both did.

use std::borrow::Cow;

use wfengine_storage_format::{
    Body, EventId, PoolChanged, Role, RunnerExited, RunnerIntended, RunnerRemoved, RunnerStarted,
};

use super::{Asking, Decision, Refusal};
use crate::views::runners::{Phase, Runner};

impl Asking<'_> {
    pub(super) fn change_pool(&self, body: &PoolChanged) -> Result<Decision, Refusal> {
        self.need_role(Role::Submitter)?;
        let before = self.views.runners().pool(&self.peer(), &body.pool);
        // turning off what never was on says nothing
        let is_said = before.map_or(!body.is_on, |before| before.said == *body);
        if is_said { Ok(Decision::AlreadySo) } else { self.write(body.clone().into(), Vec::new()) }
    }

    pub(super) fn intend_runner(&self, body: &RunnerIntended) -> Result<Decision, Refusal> {
        self.need_role(Role::Submitter)?;
        let runners = self.views.runners();
        let pool = runners.pool(&self.peer(), &body.pool);
        if !pool.is_some_and(|pool| pool.said.is_on) {
            return Err(Refusal::PoolOff { pool: body.pool.clone(), is_known: pool.is_some() });
        }
        if let Some(taken) = runners.live().find(|runner| runner.intended.name == body.name) {
            let author = self.views.peer_name(&taken.author);
            return Err(Refusal::RunnerNameTaken { name: body.name.clone(), author });
        }
        self.write(body.clone().into(), Vec::new())
    }

    /// A runner that this peer intended.
    fn own_runner(&self, intent: &EventId) -> Result<Cow<'_, Runner>, Refusal> {
        self.need_role(Role::Submitter)?;
        let runner = self.views.runners().get(intent).ok_or(Refusal::UnknownRunner(*intent))?;
        if runner.author == self.peer() {
            return Ok(runner);
        }
        let author = self.views.peer_name(&runner.author);
        Err(Refusal::ForeignRunner { name: runner.intended.name.clone(), author })
    }

    pub(super) fn start_runner(&self, body: &RunnerStarted) -> Result<Decision, Refusal> {
        match self.own_runner(&body.intent)?.phase() {
            Phase::Intended => self.write(body.clone().into(), Vec::new()),
            Phase::Started | Phase::Exited | Phase::Removed => Ok(Decision::AlreadySo),
        }
    }

    pub(super) fn exit_runner(&self, body: &RunnerExited) -> Result<Decision, Refusal> {
        match self.own_runner(&body.intent)?.phase() {
            Phase::Intended | Phase::Started => {
                self.write(body.clone().into(), body.log.into_iter().collect())
            }
            Phase::Exited | Phase::Removed => Ok(Decision::AlreadySo),
        }
    }

    pub(super) fn remove_runner(&self, body: &RunnerRemoved) -> Result<Decision, Refusal> {
        let runner = self.own_runner(&body.intent)?;
        match runner.phase() {
            Phase::Exited => self.write(Body::from(body.clone()), Vec::new()),
            Phase::Removed => Ok(Decision::AlreadySo),
            phase @ (Phase::Intended | Phase::Started) => {
                Err(Refusal::RunnerNotExited { name: runner.intended.name.clone(), phase })
            }
        }
    }
}
