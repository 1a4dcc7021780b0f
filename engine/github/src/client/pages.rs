//! Lists that come in pages.
//!
//! The next page is where the `link` header says, by path and query, if that is on our host. Between two pages things move:
//! doubles are dropped, and nobody should believe that there are no gaps.
//!
//! Invariants: at most as many pages as the caller allows; an entry that cannot be read is counted and does not lose the others.

use std::collections::BTreeSet;

use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{Call, Client, Origin, json};
use crate::error::ApiError;

/// A list with what is known about its way here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// The entries, without doubles.
    pub items: Vec<T>,
    /// Pages asked for.
    pub pages: u32,
    /// Every page was answered with 304.
    pub is_unchanged: bool,
    /// Some page is stale: a limit holds.
    pub is_stale: bool,
    /// There are more pages than were wanted.
    pub is_cut: bool,
    /// Entries that could not be read.
    pub unreadable: u32,
}

impl<T> Listing<T> {
    /// A list of one.
    pub(crate) fn of_one(item: T, origin: Origin) -> Self {
        Self {
            items: vec![item],
            pages: 1,
            is_unchanged: origin == Origin::Unchanged,
            is_stale: matches!(origin, Origin::Stale { .. }),
            is_cut: false,
            unreadable: 0,
        }
    }

    /// Keeps the entries for which this holds.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.items.retain(keep);
    }
}

/// An entry of a list that may be anything.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Entry<T> {
    Read(T),
    Unreadable(IgnoredAny),
}

/// A page, from which the entries are taken.
pub(crate) trait Page: DeserializeOwned + Send {
    type Item: Send;
    fn entries(self) -> Vec<Entry<Self::Item>>;
}

impl<T: DeserializeOwned + Send> Page for Vec<Entry<T>> {
    type Item = T;

    fn entries(self) -> Self {
        self
    }
}

impl Client {
    /// All entries of a list, at most this many pages of it.
    pub(crate) async fn list<P: Page>(
        &self,
        first: impl Into<String>,
        id: fn(&P::Item) -> u64,
        pages_max: u32,
    ) -> Result<Listing<P::Item>, ApiError> {
        let mut listing = Listing {
            items: Vec::new(),
            pages: 0,
            is_unchanged: true,
            is_stale: false,
            is_cut: false,
            unreadable: 0,
        };
        let (mut ids, mut walked) = (BTreeSet::new(), BTreeSet::new());
        let mut path = first.into();
        loop {
            let call = Call::get(path.clone());
            let linked = self.run(&call, &json::<P>).await?;
            listing.pages += 1;
            listing.is_unchanged &= linked.fetched.origin == Origin::Unchanged;
            listing.is_stale |= matches!(linked.fetched.origin, Origin::Stale { .. });
            for entry in linked.fetched.value.entries() {
                match entry {
                    Entry::Read(item) if ids.insert(id(&item)) => listing.items.push(item),
                    Entry::Read(_) => {}
                    Entry::Unreadable(_) => listing.unreadable += 1,
                }
            }
            walked.insert(std::mem::take(&mut path));
            let Some(next) = linked.link.as_deref().and_then(next) else { return Ok(listing) };
            let place = call.place(&call.path);
            let Some(under) = self.settings().api.path_under(next) else {
                let host = next.split_once("://").map_or(next, |(_, rest)| rest);
                let host = crate::error::clean(host.split(['/', '?']).next().unwrap_or_default(), 100);
                return Err(ApiError::ForeignLink { place, host });
            };
            if walked.contains(&under) {
                return Err(ApiError::Unexpected { place, problem: "the pages lead in a circle".to_owned() });
            }
            if listing.pages >= pages_max {
                listing.is_cut = true;
                return Ok(listing);
            }
            path = under;
        }
    }
}

/// The target of `rel="next"` in a `link` header.
fn next(link: &str) -> Option<&str> {
    let mut rest = link;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        // parameters go on to the next comma; our targets are quoted by < and >
        let (parameters, more) = after.split_once(',').unwrap_or((after, ""));
        let is_next = parameters.split(';').map(str::trim).any(|parameter| {
            parameter.eq_ignore_ascii_case("rel=\"next\"") || parameter.eq_ignore_ascii_case("rel=next")
        });
        if is_next {
            return Some(target);
        }
        rest = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_wherever_it_stands() {
        let link = "<https://a/x?page=1,2>; rel=\"prev\", <https://a/x?page=3>; rel=\"next\", <https://a/x?page=9>; rel=\"last\"";
        assert_eq!(next(link), Some("https://a/x?page=3"));
        assert_eq!(next("<https://a/x?page=1>; rel=\"prev\""), None);
        for odd in ["", "<", "<a", "rel=\"next\"", "<a>; rel=\"nextish\""] {
            assert_eq!(next(odd), None, "{odd}");
        }
    }
}
