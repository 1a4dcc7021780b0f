//! `replay`: print or prove the history.

use super::Globals;
use crate::args::ReplayArgs;
use crate::error::{Exit, Failure};

pub(super) async fn replay(_globals: &Globals, _args: ReplayArgs) -> Result<Exit, Failure> {
    Err(Failure::bad_input("replay"))
}
