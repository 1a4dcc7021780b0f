//! The inputs that a checkout is given: which there are, what becomes of each, and their values.

use super::{ACTION, CheckoutError};
use crate::{
    diagnostic::{near_matches, quoted_list},
    expression::Contexts,
    template::Tree,
};

/// What is shown of an input that may hold a secret.
const HIDDEN: &str = "***";

/// What becomes of an input.
enum Handling {
    Obeyed,
    /// Changes nothing here: no token is used, none is left behind.
    Passed,
    /// As `Passed`; its value is not shown.
    Secret,
    /// Refused with one of these values, in lower case, for this reason.
    RefusedIf(&'static [&'static str], &'static str),
    /// Refused with any value but these, in lower case, and none at all, for this reason.
    RefusedUnless(&'static [&'static str], &'static str),
}

use Handling::{Obeyed, Passed, RefusedIf, RefusedUnless, Secret};

const WHOLE: &str = "this version checks out whole commits; leave it out";
const NO_SSH: &str = "this version fetches without ssh and holds no keys; leave it out";

const INPUTS: [(&str, Handling); 21] = [
    ("repository", Obeyed),
    ("ref", Obeyed),
    ("path", Obeyed),
    ("clean", Obeyed),
    ("fetch-depth", Obeyed),
    ("fetch-tags", Obeyed),
    ("github-server-url", Obeyed),
    ("token", Secret),
    ("persist-credentials", Passed),
    ("set-safe-directory", Passed),
    ("show-progress", Passed),
    ("allow-unsafe-pr-checkout", Passed),
    (
        "submodules",
        RefusedIf(
            &["true", "recursive"],
            "submodules are not checked out by this version; run `git submodule update --init` in a step",
        ),
    ),
    ("lfs", RefusedIf(&["true"], "files of Git LFS are not fetched by this version")),
    ("sparse-checkout", RefusedUnless(&[], WHOLE)),
    ("sparse-checkout-cone-mode", RefusedUnless(&["true"], WHOLE)),
    ("filter", RefusedUnless(&[], WHOLE)),
    ("ssh-key", RefusedUnless(&[], NO_SSH)),
    ("ssh-known-hosts", RefusedUnless(&[], NO_SSH)),
    ("ssh-strict", RefusedUnless(&["true"], NO_SSH)),
    ("ssh-user", RefusedUnless(&["git"], NO_SSH)),
];

/// Whether this input may have this value; `None`: nobody can say before the job runs.
pub(super) fn check(input: &str, value: Option<&str>) -> Result<(), String> {
    let known = INPUTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(input));
    let Some((_, handling)) = known else {
        let near = near_matches(input, INPUTS.iter().map(|(name, _)| *name));
        let meant =
            if near.is_empty() { String::new() } else { format!("; did you mean {}?", quoted_list(near)) };
        return Err(format!("{ACTION} has no such input{meant}"));
    };
    let value = value.unwrap_or_default().trim().to_ascii_lowercase();
    match handling {
        RefusedIf(values, why) if values.contains(&value.as_str()) => Err((*why).to_owned()),
        RefusedUnless(values, why) if !value.is_empty() && !values.contains(&value.as_str()) => {
            Err((*why).to_owned())
        }
        Obeyed | Passed | Secret | RefusedIf(..) | RefusedUnless(..) => Ok(()),
    }
}

/// The inputs with their values, trimmed.
pub(super) struct Given(Vec<(String, String)>);

impl Given {
    pub(super) fn read(with: Option<&Tree>, contexts: &Contexts) -> Result<Self, CheckoutError> {
        let pairs = with.map_or(Ok(Vec::new()), |with| with.pairs(contexts))?;
        let mut given = Vec::new();
        for (name, value) in pairs {
            let (input, text) = (name.to_ascii_lowercase(), value.to_text().trim().to_owned());
            if let Err(why) = check(&input, Some(&text)) {
                return Err(CheckoutError::Refused { input: name, why });
            }
            given.push((input, text));
        }
        Ok(Given(given))
    }

    /// Its value, of several the last; empty when it was not given.
    pub(super) fn text(&self, input: &str) -> &str {
        self.0.iter().rfind(|(name, _)| name == input).map_or("", |(_, text)| text)
    }

    pub(super) fn is(&self, input: &str, otherwise: bool) -> bool {
        match self.text(input) {
            "" => otherwise,
            text => text.eq_ignore_ascii_case("true"),
        }
    }

    pub(super) fn shown(&self) -> Vec<(String, String)> {
        let is_hidden =
            |input: &str| INPUTS.iter().any(|(name, handling)| *name == input && matches!(handling, Secret));
        let shown = |(input, text): &(String, String)| {
            (input.clone(), if is_hidden(input) { HIDDEN.to_owned() } else { text.clone() })
        };
        self.0.iter().filter(|(_, text)| !text.is_empty()).map(shown).collect()
    }
}
