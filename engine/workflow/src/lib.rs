//! What a workflow file means: from bytes to a checked model, from there to jobs, and to what each step does.
//!
//! Pure: no IO, no clock, no randomness. Nothing here runs anything or decides who runs it; the executor brings files and
//! processes, the scheduler brings places.
//!
//! The path of a file:
//!
//! ```text
//! bytes ─reader─▶ tree with places ─schema─▶ checked ─model─▶ Workflow ─plan(Frozen, results)─▶ jobs to place
//!                                                               │
//!                     tags::of, Triggers::of ◀──────────────────┼──────▶ job_definition ─▶ contexts, env, steps, outputs
//! ```
//!
//! ```
//! use std::collections::BTreeMap;
//! use wfengine_workflow::{Frozen, Workflow, plan::plan};
//!
//! let source = b"on: push\njobs:\n  hello:\n    runs-on: ubuntu-latest\n    steps:\n    - run: echo hello\n";
//! let workflow = Workflow::read(source, "hello.yml").map_err(|errors| errors[0].clone())?;
//! assert!(workflow.unsupported().is_empty());
//! let plan = plan(&workflow, &Frozen::default(), &BTreeMap::new()).map_err(|errors| errors[0].clone())?;
//! assert_eq!(plan.jobs[0].name, "hello");
//! # Ok::<(), wfengine_workflow::Diagnostic>(())
//! ```
//!
//! Invariants: input from strangers is bounded ([`limits`]) and never panics; the same arguments give the same answer on every
//! node; every error names file, line and column.

pub mod checkout;
pub mod diagnostic;
pub mod expression;
pub mod frozen;
pub mod inputs;
pub mod job_contexts;
pub mod limits;
pub mod matrix;
pub mod model;
pub mod plan;
pub mod reader;
pub mod schedule;
mod schema;
pub mod shell;
pub mod steps;
pub mod submission;
pub mod tags;
pub mod template;
pub mod triggers;

pub use checkout::{Checkout, CheckoutError, CheckoutInputs, Revision};
pub use diagnostic::{Diagnostic, Position};
pub use expression::{Contexts, EvaluationError, Expression, HashFiles, Object, Status, Value};
pub use frozen::{Conclusion, Frozen, LegResult, NeedsResult};
pub use inputs::{InputError, Inputs, missing_inputs, resolve_inputs};
pub use model::{Job, RequiredProgram, Step, StepAction, Unsupported, Verdict, Workflow};
pub use plan::{JobCondition, Plan, PlannedJob, RULES_VERSION};
pub use schedule::{Cron, Schedule};
pub use shell::Shell;
pub use steps::JobDefinition;
pub use submission::{plan_keys, thaw};
pub use template::{Condition, RenderError, Template, Tree, evaluate_condition, render};
pub use triggers::{OnGithub, Triggers};
