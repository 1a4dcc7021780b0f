//! Faults on order: which requests they hit, how often, and what they do.
//!
//! An error takes the place of the answer and nothing happens to the state. The others let the request happen and spoil its
//! answer, on its way into the network at the latest.

use std::time::Duration;

use serde_json::Value;

use super::errors::ErrorCase;

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A documented error; the request has no effect.
    Error(ErrorCase),
    /// Any status and body; the request has no effect.
    Status {
        /// The status.
        status: u16,
        /// The body.
        body: Value,
    },
    /// An HTML page with this status, as from an overloaded GitHub; the request has no effect.
    HtmlPage {
        /// Such as 502.
        status: u16,
    },
    /// 301 to the request's own address.
    RedirectLoop,
    /// The answer comes later, in real time.
    Slow(Duration),
    /// The header names the whole length, and the connection closes after so many bytes of the body.
    CutBody {
        /// Sent before the connection closes.
        after_bytes: usize,
    },
    /// The request takes effect and the connection closes without an answer.
    LostAnswer,
    /// A list without its items; its links stay.
    EmptyPage,
    /// From page 2 on the list begins one item early: the last of the page before comes again.
    RepeatedItem,
    /// From page 2 on the list begins one item late: one is never seen.
    SkippedItem,
    /// `date` is wrong by so many seconds.
    SkewedDate {
        /// Above zero: ahead.
        seconds: i64,
    },
    /// Blanks in front of the body, without end as far as a client is concerned.
    HugeBody {
        /// How many.
        bytes: u64,
    },
    /// `content-type: text/html` on the right body.
    WrongContentType,
    /// The first half of the body, with the length to match.
    InvalidJson,
}

impl Fault {
    /// Whether the answer still keeps the contract.
    pub(crate) fn keeps_contract(&self) -> bool {
        matches!(
            self,
            Self::Slow(_)
                | Self::RepeatedItem
                | Self::SkippedItem
                | Self::SkewedDate { .. }
                | Self::EmptyPage
                | Self::HugeBody { .. }
                | Self::CutBody { .. }
                | Self::LostAnswer
        )
    }
}

/// Which requests a fault hits.
#[derive(Debug, Clone)]
pub struct FaultRule {
    method: Option<String>,
    path: String,
    skip: u64,
    times: u64,
    fault: Fault,
}

impl FaultRule {
    /// A fault for one request whose path, without `/api/v3` and query, fits a pattern; `*` stands for anything, slashes too.
    /// Paths by repository id are also tried by name.
    pub fn new(path: &str, fault: Fault) -> Self {
        Self { method: None, path: path.to_owned(), skip: 0, times: 1, fault }
    }

    /// Only requests with this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// For so many requests.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// For all of them.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// So many requests that fit are spared first.
    #[must_use]
    pub fn after(mut self, spared: u64) -> Self {
        self.skip = spared;
        self
    }
}

/// All rules. The first that fits and is not used up decides.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<FaultRule>,
}

impl Faults {
    pub(crate) fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// How many faults are still to come; those that come always count as one.
    pub(crate) fn left(&self) -> u64 {
        self.rules.iter().map(|rule| if rule.times == u64::MAX { 1 } else { rule.times }).sum()
    }

    /// The fault for a request known by these paths, which is thereby used.
    pub(crate) fn next(&mut self, method: &str, paths: &[&str]) -> Option<Fault> {
        for rule in &mut self.rules {
            let is_method = rule.method.as_deref().is_none_or(|wanted| wanted == method);
            if rule.times == 0 || !is_method || !paths.iter().any(|path| fits(&rule.path, path)) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.times != u64::MAX {
                rule.times -= 1;
            }
            return Some(rule.fault.clone());
        }
        None
    }
}

/// Whether a text fits a pattern in which `*` stands for anything.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            let Some(rest) = text.strip_prefix(head) else { return false };
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| fits(tail, &rest[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_hits_what_fits_and_no_more_often_than_it_says() {
        let mut faults = Faults::default();
        faults.add(FaultRule::new("/repos/*/git/*", Fault::LostAnswer).method("GET").after(1).times(2));
        let path = ["/repos/a/b/git/trees/x"];
        assert!(faults.next("POST", &path).is_none());
        assert!(faults.next("GET", &["/repos/a/b"]).is_none());
        let hits: Vec<bool> = (0..4).map(|_| faults.next("GET", &path).is_some()).collect();
        assert_eq!(hits, [false, true, true, false]);
        assert_eq!(faults.left(), 0);
    }
}
