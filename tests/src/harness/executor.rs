//! The scripted executor: a job takes virtual time in steps, and sometimes hangs, fails or breaks down. What a job does is drawn
//! from the seed and the claim, so it does not depend on who asks.

use wfengine_storage_format::{Conclusion, EventId, JobCompleted, JobId, RunId};

use super::chance::Chance;
use super::plan::Faults;

/// How an execution will go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// With a result.
    Concludes(Conclusion),
    /// The executor breaks down.
    BreaksDown,
    /// It cannot be executed.
    Unable,
    /// The program that holds it says nothing any more.
    FallsSilent,
}

/// An execution under way.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Of which run.
    pub run: RunId,
    /// Which job.
    pub job: JobId,
    /// Under which claim.
    pub claim: EventId,
    /// Durations of its steps in milliseconds.
    pub steps_ms: Vec<u64>,
    /// Steps begun.
    pub begun: u32,
    /// What comes after the last.
    pub ending: Ending,
    /// It was told to stop.
    pub stopping: bool,
}

/// An execution that hangs is ended by its wall limit after this time.
const HANG_MS: u64 = 60_000;

impl Execution {
    /// Draws how a claim's execution goes.
    pub fn draw(seed: u64, run: RunId, job: JobId, claim: EventId, faults: &Faults, is_task: bool) -> Self {
        let mut chance = Chance::new(seed, &format!("execution {claim}"));
        let mut steps_ms: Vec<u64> = (0..chance.between(1, 4)).map(|_| chance.between(200, 3_000)).collect();
        let mut ending = match chance.happens(faults.failure_permille) {
            true => Ending::Concludes(Conclusion::Failure),
            false => Ending::Concludes(Conclusion::Success),
        };
        if chance.happens(faults.broken_executor_permille) {
            ending = match chance.between(0, 3) {
                0 => Ending::BreaksDown,
                1 if !is_task => Ending::Unable,
                _ if is_task => Ending::FallsSilent,
                _ => {
                    steps_ms.push(HANG_MS);
                    Ending::Concludes(Conclusion::Failure)
                }
            };
        }
        Self { run, job, claim, steps_ms, begun: 0, ending, stopping: false }
    }

    /// The result it ends with.
    pub fn result(&self, conclusion: Conclusion) -> JobCompleted {
        JobCompleted {
            run: self.run,
            job: self.job,
            claim: self.claim,
            conclusion,
            outputs: vec![("steps".to_owned(), self.begun.to_string())],
            result_json: String::new(),
            log: None,
            log_len: 0,
            summary: None,
            artifacts: vec![],
            duration_ms: self.steps_ms.iter().sum(),
            notes: vec![],
        }
    }
}
