//! Decide, admit, apply: the engine without IO, clock or randomness.
//!
//! Three verbs and their contract:
//!
//! * [`command::decide`] looks at the views and turns a command into event bodies in the past tense, or refuses it. It changes nothing.
//! * [`log::Log::admit`] takes a verified frame, own or foreign, into the merkle clock once everything it names is known.
//! * [`views::Views::apply`] folds an admitted event into the one entity it belongs to. It cannot fail.
//!
//! Between `admit` and `apply` the store makes the frame durable; nobody sees a view of something that is not. Time, randomness
//! and keys are arguments. [`scheduler`] is the machine that decides when to claim, and owns every timer.

pub mod admitted;
pub mod authority;
pub mod command;
pub mod digest;
pub mod fibonacci_heap;
pub mod log;
pub mod ownership;
pub mod pending;
pub mod queue;
pub mod replay;
pub mod scheduler;
pub mod seal;
pub mod time;
pub mod views;

pub use admitted::Admitted;
pub use log::Log;
pub use views::Views;
