//! What an audit found wrong, and where.
//!
//! Findings are collected and never stop a replay. The list is bounded; what does not fit is counted.

use std::fmt;

use wfengine_storage_format::ExportDamage;

/// Findings kept in words; beyond that they are counted.
pub const FINDINGS_MAX: usize = 10_000;

/// Where a frame stands in what is replayed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Its number: in the order of admission, or as an export numbers it.
    pub frame: u64,
    /// Where its bytes begin in the file, for an export.
    pub offset: Option<u64>,
}

impl Place {
    /// What a [`Reread`](super::Reread) is asked for: the offset in a file, the number in a log.
    pub fn handle(&self) -> u64 {
        self.offset.unwrap_or(self.frame)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "frame {} at byte {offset}", self.frame),
            None => write!(f, "frame {}", self.frame),
        }
    }
}

/// What kind of thing is wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum What {
    /// Bytes are not what their author signed, or not a frame at all.
    Damaged,
    /// Something that should be there is not.
    Missing,
    /// A frame names something that never came: it and what follows it could not be folded.
    Unreachable,
    /// A frame contradicts the rules of the log.
    Rejected,
    /// A frame contradicts another of its chain.
    Forked,
    /// A frame stands twice.
    Doubled,
    /// A frame stands before something it names.
    OutOfOrder,
    /// What the file or log holds is not what is said of it: by its trailer, by the stored views, or by whoever asked.
    Mismatch,
    /// A recorded plan is not the one that its inputs give.
    Plan,
}

impl What {
    /// The word for people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            What::Damaged => "damaged",
            What::Missing => "missing",
            What::Unreachable => "unreachable",
            What::Rejected => "rejected",
            What::Forked => "forked",
            What::Doubled => "doubled",
            What::OutOfOrder => "out-of-order",
            What::Mismatch => "mismatch",
            What::Plan => "plan",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Which kind.
    pub what: What,
    /// Where; `None` when it concerns the whole.
    pub place: Option<Place>,
    /// In words.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{}: {place}: {}", self.what.name(), self.detail),
            None => write!(f, "{}: {}", self.what.name(), self.detail),
        }
    }
}

impl From<ExportDamage> for Finding {
    fn from(damage: ExportDamage) -> Self {
        let what = match &damage {
            ExportDamage::Missing { .. } | ExportDamage::NoTrailer { .. } => What::Missing,
            ExportDamage::OutOfOrder { number, after, .. } if number == after => What::Doubled,
            ExportDamage::OutOfOrder { .. } => What::OutOfOrder,
            ExportDamage::Count { .. } | ExportDamage::Digest { .. } => What::Mismatch,
            ExportDamage::NotAnExport
            | ExportDamage::Version { .. }
            | ExportDamage::Header
            | ExportDamage::Unreadable { .. }
            | ExportDamage::CutShort { .. }
            | ExportDamage::Trailer { .. }
            | ExportDamage::TrailerSignature { .. }
            | ExportDamage::Trailing { .. } => What::Damaged,
        };
        // the words of the container name the byte
        Finding { what, place: None, detail: damage.to_string() }
    }
}

/// Findings in the order in which they were made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    more: u64,
}

impl Findings {
    /// Adds one.
    pub fn add(&mut self, finding: Finding) {
        if self.list.len() < FINDINGS_MAX {
            self.list.push(finding);
        } else {
            self.more += 1;
        }
    }
    pub(crate) fn at(&mut self, what: What, place: Place, detail: impl fmt::Display) {
        self.add(Finding { what, place: Some(place), detail: detail.to_string() });
    }
    pub(crate) fn of_whole(&mut self, what: What, detail: impl fmt::Display) {
        self.add(Finding { what, place: None, detail: detail.to_string() });
    }
    /// The first [`FINDINGS_MAX`].
    pub fn list(&self) -> &[Finding] {
        &self.list
    }
    /// How many more there were.
    pub fn more(&self) -> u64 {
        self.more
    }
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
    /// How many, listed or not.
    pub fn len(&self) -> u64 {
        self.list.len() as u64 + self.more
    }
}
