//! What to do about one runner of this node: its events, its container and its registration are held against each other. Pure.
//!
//! Three lists tell of a runner, and none of them is always right: the log (what was intended), the engine (what runs), GitHub (what is
//! registered). [`Track`] remembers since when they differ; [`decide`] names the one next step. What a list does not tell because it
//! could not be had is [`Seen::Unknown`], and from that nothing follows.
//!
//! Invariants: a runner that is busy is never ended for being superfluous; one that is idle leaves GitHub first and the engine second;
//! what is gone everywhere is removed, once.

use std::time::Duration;

use wfengine_core::time::Monotonic;

/// What a list tells of something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen<T> {
    /// The list could not be had, or is older than the question.
    Unknown,
    /// It is not there.
    Absent,
    /// It is there.
    There(T),
}

impl<T> Seen<T> {
    /// Whether the list says that it is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// How far its events go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Nobody knows yet whether it came to be.
    Intended,
    /// Its container was started.
    Started,
    /// It has ended; something of it may be left.
    Exited,
}

/// A container, as the engine tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContainerSeen {
    /// It was made and not started.
    Created,
    /// It runs.
    Running,
    /// It has ended, with this code.
    Ended {
        /// As its first process said.
        exit_code: i64,
        /// The engine killed something in it for want of memory.
        out_of_memory: bool,
    },
}

/// A registration, as GitHub tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegistrationSeen {
    /// GitHub's number.
    pub id: u64,
    /// It listens.
    pub is_online: bool,
    /// It has a job.
    pub is_busy: bool,
}

/// Everything that is known of a runner at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunnerSeen {
    /// Its events.
    pub phase: Phase,
    /// Its container.
    pub container: Seen<ContainerSeen>,
    /// Its registration.
    pub registration: Seen<RegistrationSeen>,
}

impl RunnerSeen {
    /// The same while its container still ran.
    pub fn before_it_ended(self) -> Self {
        Self { container: Seen::There(ContainerSeen::Running), ..self }
    }
}

/// How long differences are looked at before something is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// A container has to be connected to GitHub so soon.
    pub start: Duration,
    /// A runner that was connected may be away so long.
    pub offline: Duration,
    /// A container may go on so long after its registration went: it has done its job and is about to end.
    pub gone: Duration,
    /// A runner without a job is kept so long.
    pub idle: Duration,
    /// A runner that takes no job although some wait for it is broken after so long.
    pub stuck: Duration,
    /// A job may take so long.
    pub job: Duration,
}

/// What is remembered of a runner between two looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Track {
    began: Monotonic,
    /// Its container was seen to have been started then.
    started: Option<Monotonic>,
    was_online: bool,
    was_busy: bool,
    offline_since: Option<Monotonic>,
    gone_since: Option<Monotonic>,
    idle_since: Option<Monotonic>,
    busy_since: Option<Monotonic>,
    /// Jobs that it could take have waited since then, and it took none.
    passed_over_since: Option<Monotonic>,
    /// GitHub would not let it go: it had just got a job.
    kept_until: Option<Monotonic>,
}

/// A runner that GitHub would not let go is left alone so long.
const KEPT_FOR: Duration = Duration::from_secs(60);

impl Track {
    /// A runner that is seen for the first time.
    pub fn new(now: Monotonic) -> Self {
        Self {
            began: now,
            started: None,
            was_online: false,
            was_busy: false,
            offline_since: None,
            gone_since: None,
            idle_since: None,
            busy_since: None,
            passed_over_since: None,
            kept_until: None,
        }
    }

    /// Since when it is known to be registered: a list of registrations that was asked for before says nothing about it.
    pub fn started(&self) -> Option<Monotonic> {
        self.started
    }
    /// Whether it ever was connected, as far as was seen.
    pub fn was_online(&self) -> bool {
        self.was_online
    }
    /// Since when it waits for a job, if it does.
    pub fn idle_since(&self) -> Option<Monotonic> {
        self.idle_since
    }
    /// Whether it ever had a job, as far as was seen.
    pub fn was_busy(&self) -> bool {
        self.was_busy
    }
    /// Whether it counts as one that will take a waiting job: it starts, or waits.
    pub fn is_free(&self, seen: &RunnerSeen) -> bool {
        seen.phase != Phase::Exited
            && self.busy_since.is_none()
            && self.gone_since.is_none()
            && !self.has_ended(seen)
    }
    fn has_ended(&self, seen: &RunnerSeen) -> bool {
        matches!(seen.container, Seen::There(ContainerSeen::Ended { .. }))
            || (seen.phase == Phase::Started && seen.container.is_absent())
    }

    /// Takes in what is seen now. `jobs_wait`: some wait that it could take.
    pub fn see(&mut self, seen: &RunnerSeen, jobs_wait: bool, now: Monotonic) {
        if seen.phase == Phase::Started {
            self.started = self.started.or(Some(now));
        }
        let Seen::There(registration) = seen.registration else {
            if seen.registration.is_absent() && seen.phase == Phase::Started {
                self.gone_since = self.gone_since.or(Some(now));
                (self.idle_since, self.busy_since, self.passed_over_since) = (None, None, None);
            }
            return;
        };
        self.gone_since = None;
        let RegistrationSeen { is_online, is_busy, .. } = registration;
        self.was_online |= is_online;
        self.was_busy |= is_busy;
        let since = |known: Option<Monotonic>, holds: bool| if holds { known.or(Some(now)) } else { None };
        self.offline_since = since(self.offline_since, !is_online);
        self.busy_since = since(self.busy_since, is_busy);
        self.idle_since = since(self.idle_since, is_online && !is_busy);
        self.passed_over_since = since(self.passed_over_since, is_online && !is_busy && jobs_wait);
    }

    /// GitHub said that it has just got a job.
    pub fn keep(&mut self, now: Monotonic) {
        self.kept_until = Some(now + KEPT_FOR);
        self.was_busy = true;
    }
}

/// Why a runner is ended before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// It never connected to GitHub.
    NeverOnline,
    /// It was connected, and is no more.
    Offline,
    /// GitHub has no such runner, and it goes on all the same.
    Unregistered,
    /// Its job took too long.
    JobTimeout,
    /// It waited too long for a job, and enough others wait.
    Idle,
    /// Jobs waited for it, and it took none.
    Stuck,
    /// Its pool is off, or it is to be replaced.
    Unwanted,
}

impl Why {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::NeverOnline => "it never connected to GitHub",
            Self::Offline => "it lost its connection to GitHub",
            Self::Unregistered => "GitHub has no such runner any more",
            Self::JobTimeout => "its job took longer than the pool allows",
            Self::Idle => "no job came for it",
            Self::Stuck => "jobs waited for it and it took none",
            Self::Unwanted => "it is not wanted any more",
        }
    }

    /// Whether something is wrong with it, rather than that it is not needed.
    pub fn is_fault(self) -> bool {
        !matches!(self, Self::Idle | Self::Unwanted)
    }
}

/// The next step for a runner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing: it is as it should be, or not enough is known.
    Wait,
    /// The container runs and the log does not know: an earlier process got that far. It is taken over.
    Adopt,
    /// It did not come to be: an earlier process ended in between. Its end goes into the log.
    GiveUp,
    /// The container has ended; its log is kept and its end goes into the log.
    Conclude {
        /// As its first process said; `None` if nobody knows.
        exit_code: Option<i64>,
        /// The engine killed something in it for want of memory.
        out_of_memory: bool,
    },
    /// It leaves GitHub first; if that is refused it has just got a job and stays. Then the container ends.
    Drain(Why),
    /// The container is ended whatever GitHub says.
    Kill(Why),
    /// What is left of it is removed.
    Clean,
}

/// What to do about a runner now. `is_spare`: more wait than are to.
pub fn decide(track: &Track, seen: &RunnerSeen, timing: &Timing, is_spare: bool, now: Monotonic) -> Step {
    let since = |at: Option<Monotonic>, limit: Duration| at.is_some_and(|at| now - at >= limit);
    match seen.phase {
        Phase::Exited => Step::Clean,
        Phase::Intended => match seen.container {
            Seen::Unknown => Step::Wait,
            Seen::There(ContainerSeen::Running) => Step::Adopt,
            Seen::There(ContainerSeen::Ended { exit_code, out_of_memory }) => {
                Step::Conclude { exit_code: Some(exit_code), out_of_memory }
            }
            // what it should have registered with went with the process that knew it
            Seen::Absent | Seen::There(ContainerSeen::Created) => Step::GiveUp,
        },
        Phase::Started => match seen.container {
            Seen::Unknown => Step::Wait,
            Seen::Absent => Step::Conclude { exit_code: None, out_of_memory: false },
            Seen::There(ContainerSeen::Ended { exit_code, out_of_memory }) => {
                Step::Conclude { exit_code: Some(exit_code), out_of_memory }
            }
            Seen::There(ContainerSeen::Created) => Step::Kill(Why::NeverOnline),
            Seen::There(ContainerSeen::Running) => {
                if since(track.busy_since, timing.job) {
                    Step::Kill(Why::JobTimeout)
                } else if track.kept_until.is_some_and(|until| now < until) {
                    Step::Wait
                } else if since(track.gone_since, timing.gone) {
                    Step::Kill(Why::Unregistered)
                } else if !track.was_online
                    && track.offline_since.is_some()
                    && now - track.began >= timing.start
                {
                    Step::Drain(Why::NeverOnline)
                } else if track.was_online && since(track.offline_since, timing.offline) {
                    Step::Drain(Why::Offline)
                } else if since(track.passed_over_since, timing.stuck) {
                    Step::Drain(Why::Stuck)
                } else if is_spare && since(track.idle_since, timing.idle) {
                    Step::Drain(Why::Idle)
                } else {
                    Step::Wait
                }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        start: Duration::from_secs(120),
        offline: Duration::from_secs(60),
        gone: Duration::from_secs(30),
        idle: Duration::from_secs(600),
        stuck: Duration::from_secs(180),
        job: Duration::from_secs(3_600),
    };

    fn at(seconds: u64) -> Monotonic {
        Monotonic(seconds * 1_000)
    }

    fn running(registration: Seen<RegistrationSeen>) -> RunnerSeen {
        RunnerSeen { phase: Phase::Started, container: Seen::There(ContainerSeen::Running), registration }
    }

    fn there(is_online: bool, is_busy: bool) -> Seen<RegistrationSeen> {
        Seen::There(RegistrationSeen { id: 1, is_online, is_busy })
    }

    /// What is decided at `until` if it is seen like this every five seconds.
    fn after(seen: RunnerSeen, until: u64, jobs_wait: bool, is_spare: bool) -> Step {
        let mut track = Track::new(at(0));
        for second in (0..=until).step_by(5) {
            track.see(&seen, jobs_wait, at(second));
        }
        decide(&track, &seen, &TIMING, is_spare, at(until))
    }

    #[test]
    fn what_an_earlier_process_began_is_taken_over_or_given_up() {
        let intended =
            |container| RunnerSeen { phase: Phase::Intended, container, registration: Seen::Unknown };
        let now = |seen| decide(&Track::new(at(0)), &seen, &TIMING, false, at(0));
        assert_eq!(now(intended(Seen::Unknown)), Step::Wait);
        assert_eq!(now(intended(Seen::Absent)), Step::GiveUp);
        assert_eq!(now(intended(Seen::There(ContainerSeen::Created))), Step::GiveUp);
        assert_eq!(now(intended(Seen::There(ContainerSeen::Running))), Step::Adopt);
        let ended = ContainerSeen::Ended { exit_code: 0, out_of_memory: false };
        let concluded = Step::Conclude { exit_code: Some(0), out_of_memory: false };
        assert_eq!(now(intended(Seen::There(ended))), concluded);
        let exited =
            RunnerSeen { phase: Phase::Exited, container: Seen::Unknown, registration: Seen::Unknown };
        assert_eq!(now(exited), Step::Clean);
        let vanished = RunnerSeen { phase: Phase::Started, ..intended(Seen::Absent) };
        assert_eq!(now(vanished), Step::Conclude { exit_code: None, out_of_memory: false });
    }

    #[test]
    fn a_container_that_never_connects_is_no_runner() {
        assert_eq!(after(running(there(false, false)), 115, true, true), Step::Wait);
        assert_eq!(after(running(there(false, false)), 120, true, true), Step::Drain(Why::NeverOnline));
        // a list that cannot be had condemns nobody
        assert_eq!(after(running(Seen::Unknown), 10_000, true, true), Step::Wait);
    }

    #[test]
    fn a_busy_runner_is_left_alone_until_its_job_takes_too_long() {
        assert_eq!(after(running(there(true, true)), 3_595, true, true), Step::Wait);
        assert_eq!(after(running(there(true, true)), 3_600, true, true), Step::Kill(Why::JobTimeout));
        assert_eq!(after(running(Seen::Absent), 25, true, true), Step::Wait);
        assert_eq!(after(running(Seen::Absent), 30, true, true), Step::Kill(Why::Unregistered));
    }

    #[test]
    fn idle_runners_go_when_there_are_enough_and_broken_ones_when_jobs_wait() {
        assert_eq!(after(running(there(true, false)), 600, false, false), Step::Wait);
        assert_eq!(after(running(there(true, false)), 600, false, true), Step::Drain(Why::Idle));
        assert_eq!(after(running(there(true, false)), 175, true, false), Step::Wait);
        assert_eq!(after(running(there(true, false)), 180, true, false), Step::Drain(Why::Stuck));
    }

    #[test]
    fn one_that_github_keeps_is_kept() {
        let seen = running(there(true, false));
        let mut track = Track::new(at(0));
        track.see(&seen, false, at(0));
        assert_eq!(decide(&track, &seen, &TIMING, true, at(700)), Step::Drain(Why::Idle));
        track.keep(at(700));
        assert_eq!(decide(&track, &seen, &TIMING, true, at(701)), Step::Wait);
        assert!(track.was_busy());
        assert_eq!(decide(&track, &seen, &TIMING, true, at(760)), Step::Drain(Why::Idle));
    }

    #[test]
    fn who_lost_its_connection_is_drained_after_a_while() {
        let mut track = Track::new(at(0));
        track.see(&running(there(true, false)), false, at(0));
        let away = running(there(false, false));
        track.see(&away, false, at(10));
        assert_eq!(decide(&track, &away, &TIMING, false, at(69)), Step::Wait);
        assert_eq!(decide(&track, &away, &TIMING, false, at(70)), Step::Drain(Why::Offline));
        track.see(&running(there(true, false)), false, at(71));
        assert_eq!(decide(&track, &running(there(true, false)), &TIMING, false, at(100)), Step::Wait);
    }
}
