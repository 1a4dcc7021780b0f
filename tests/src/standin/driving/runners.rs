//! What tests do to self-hosted runners.

use super::known;
use crate::standin::{
    RunnerId, RunnerInfo, Standin, StandinError,
    runners::{Purpose, Runner, Runners, Scope},
    state::State,
};

impl State {
    /// The repository `owner/name`, or the organisation without a slash.
    fn scope(&self, name: &str) -> Result<Scope, StandinError> {
        if name.contains('/') {
            return self.repository_id(name).map(Scope::Repository);
        }
        let organization = self.account(name).ok_or_else(|| StandinError::NoRepository(name.to_owned()))?;
        Ok(Scope::Organization(organization.id))
    }
}

impl Standin {
    /// Registers a runner that is online and idle, of a repository `owner/name` or an organisation.
    #[track_caller]
    pub fn add_runner(&self, of: &str, name: &str, labels: &[&str]) -> RunnerId {
        let mut state = self.state();
        let scope = known(state.scope(of));
        let id = state.ids.runner();
        let runner = Runner {
            id,
            scope,
            name: name.to_owned(),
            fixed_labels: ["self-hosted", "Linux", "X64"].map(str::to_owned).to_vec(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            is_online: true,
            job: None,
            is_said_busy: false,
            is_ephemeral: false,
            secret: None,
        };
        state.runners.all.insert(id, runner);
        id
    }

    /// Says whether a runner is connected and whether it runs something.
    #[track_caller]
    pub fn set_runner(&self, id: RunnerId, is_online: bool, is_busy: bool) {
        let mut state = self.state();
        let runner = known(state.runners.all.get_mut(&id).ok_or(StandinError::NoRunner(id.0)));
        runner.is_online = is_online;
        runner.is_said_busy = is_busy;
    }

    /// All runners, in the order of their making.
    pub fn runners(&self) -> Vec<RunnerInfo> {
        self.state().runners.all.values().map(Runners::info).collect()
    }

    /// Whether a token lets a runner register with a repository `owner/name` or an organisation.
    #[track_caller]
    pub fn accepts_registration(&self, of: &str, token: &str) -> bool {
        let state = self.state();
        let scope = known(state.scope(of));
        state.runners.accepts(token, scope, Purpose::Register, state.now())
    }
}
