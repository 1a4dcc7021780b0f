//! The numbers that GitHub gives to things. Each kind has its own type and its own range, so that a mix-up is seen at once.

use std::{fmt, str::FromStr};

macro_rules! id {
    ($name:ident, $about:literal) => {
        #[doc = $about]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(
            /// As it stands in answers.
            pub u64,
        );

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(AccountId, "A user or an organisation.");
id!(RepositoryId, "A repository; it stays when the name changes.");
id!(InstallationId, "An app at an account.");
id!(WorkflowId, "A workflow file of a repository.");
id!(RunId, "A workflow run on GitHub's side. Above 32 bits.");
id!(JobId, "A job of such a run. Above 32 bits.");
id!(CheckRunId, "A check run.");
id!(StatusId, "A commit status.");
id!(HookId, "A webhook.");
id!(RunnerId, "A self-hosted runner.");

/// Gives out numbers, each kind from its own start.
#[derive(Debug)]
pub(crate) struct Ids {
    next: u64,
}

impl Ids {
    pub(crate) fn new() -> Self {
        Self { next: 1 }
    }

    fn number(&mut self, start: u64) -> u64 {
        self.next += 1;
        start + self.next
    }

    pub(crate) fn account(&mut self) -> AccountId {
        AccountId(self.number(583_000))
    }

    pub(crate) fn repository(&mut self) -> RepositoryId {
        RepositoryId(self.number(1_296_000))
    }

    pub(crate) fn installation(&mut self) -> InstallationId {
        InstallationId(self.number(48_000_000))
    }

    pub(crate) fn workflow(&mut self) -> WorkflowId {
        WorkflowId(self.number(161_000_000))
    }

    pub(crate) fn run(&mut self) -> RunId {
        RunId(self.number(15_000_000_000))
    }

    pub(crate) fn job(&mut self) -> JobId {
        JobId(self.number(41_000_000_000))
    }

    pub(crate) fn check_run(&mut self) -> CheckRunId {
        CheckRunId(self.number(42_000_000_000))
    }

    pub(crate) fn status(&mut self) -> StatusId {
        StatusId(self.number(33_000_000_000))
    }

    pub(crate) fn runner(&mut self) -> RunnerId {
        RunnerId(self.number(5_000))
    }

    pub(crate) fn hook(&mut self) -> HookId {
        HookId(self.number(500_000_000))
    }

    /// For tokens, deliveries and request ids: never the same twice.
    pub(crate) fn serial(&mut self) -> u64 {
        self.number(0)
    }
}
