//! `log`: export and import.

use super::Globals;
use crate::args::LogVerb;
use crate::error::{Exit, Failure};

pub(super) async fn log(_globals: &Globals, _verb: LogVerb) -> Result<Exit, Failure> {
    Err(Failure::bad_input("log"))
}
