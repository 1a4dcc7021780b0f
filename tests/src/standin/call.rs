//! One request on its way through a handler: who asks, for what, and how lists are cut into pages.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    accounts::Identity,
    answer::{Answer, Outcome},
    faults::Fault,
    ids::RepositoryId,
    repositories::Repository,
    request::{Request, encoded},
    state::State,
};

/// A request that found its operation.
pub(crate) struct Call<'a> {
    pub(crate) request: &'a Request,
    pub(crate) identity: &'a Identity,
    /// From the path, decoded.
    pub(crate) parameters: Vec<(&'static str, String)>,
    /// Of paths below a repository.
    pub(crate) repository: Option<RepositoryId>,
    /// Where this client's paths begin.
    pub(crate) base: String,
    pub(crate) fault: Option<Fault>,
}

impl Call<'_> {
    /// A part of the path; empty when the path has no such part.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(given, _)| *given == name).map_or("", |(_, value)| value)
    }

    /// The part of the path that is a number; what is none does not exist.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, Answer> {
        self.parameter(name).parse().map_err(|_| Answer::not_found())
    }

    pub(crate) fn repository<'s>(&self, state: &'s State) -> Result<&'s Repository, Answer> {
        let id = self.repository.ok_or_else(Answer::not_found)?;
        state.repositories.get(&id).ok_or_else(Answer::not_found)
    }

    pub(crate) fn repository_mut<'s>(&self, state: &'s mut State) -> Result<&'s mut Repository, Answer> {
        let id = self.repository.ok_or_else(Answer::not_found)?;
        state.repositories.get_mut(&id).ok_or_else(Answer::not_found)
    }

    /// The body, which may be left out.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, Answer> {
        let text: &[u8] = if self.request.body.is_empty() { b"{}" } else { &self.request.body };
        let value: Value = serde_json::from_slice(text).map_err(|_| Answer::bad_json())?;
        serde_json::from_value(value)
            .map_err(|error| Answer::unprocessable(&format!("Invalid request.\n\n{error}")))
    }

    /// The part of a list that this page shows, and the links to the others.
    ///
    /// `path` is where the links lead, which is often not where the request went.
    pub(crate) fn page<'i, T>(&self, items: &'i [T], path: &str) -> (&'i [T], Option<String>) {
        let number = |name: &str| self.request.query(name).and_then(|text| text.parse::<usize>().ok());
        let per_page = number("per_page").filter(|size| *size > 0).unwrap_or(30).min(100);
        let page = number("page").filter(|page| *page > 0).unwrap_or(1);
        let last = items.len().div_ceil(per_page).max(1);
        let shift = |at: usize| match self.fault {
            _ if at == 0 => at,
            Some(Fault::RepeatedItem) => at - 1,
            Some(Fault::SkippedItem) => at + 1,
            _ => at,
        };
        let start = shift((page - 1).saturating_mul(per_page)).min(items.len());
        let end = start.saturating_add(per_page).min(items.len());
        let shown = match self.fault {
            Some(Fault::EmptyPage) => &[],
            _ => items.get(start..end).unwrap_or_default(),
        };
        let link = |page: usize, relation: &str| {
            let mut query: Vec<String> = self
                .request
                .query
                .iter()
                .filter(|(name, _)| name != "page")
                .map(|(name, value)| format!("{name}={}", encoded(value)))
                .collect();
            query.push(format!("page={page}"));
            format!("<{}{path}?{}>; rel=\"{relation}\"", self.base, query.join("&"))
        };
        let mut links = Vec::new();
        if page > 1 {
            links.push(link((page - 1).min(last), "prev"));
        }
        if page < last {
            links.push(link(page + 1, "next"));
            links.push(link(last, "last"));
        }
        if page > 1 {
            links.push(link(1, "first"));
        }
        (shown, (!links.is_empty()).then(|| links.join(", ")))
    }

    /// A bare array, a page of it.
    pub(crate) fn list<T>(&self, items: &[T], path: &str, show: impl FnMut(&T) -> Value) -> Outcome {
        let (shown, links) = self.page(items, path);
        let answer = Answer::json(200, shown.iter().map(show).collect());
        Ok(linked(answer, links))
    }

    /// `{"total_count", name: []}`, a page of it.
    pub(crate) fn wrapped_list<T>(
        &self,
        name: &str,
        items: &[T],
        path: &str,
        show: impl FnMut(&T) -> Value,
    ) -> Outcome {
        let (shown, links) = self.page(items, path);
        let shown: Value = shown.iter().map(show).collect();
        let mut body = serde_json::Map::new();
        body.insert("total_count".to_owned(), items.len().into());
        body.insert(name.to_owned(), shown);
        Ok(linked(Answer::json(200, body.into()), links))
    }

    /// The path of something below this request's repository, as links name it: by number.
    pub(crate) fn path_by_id(&self, below: &str) -> String {
        let id = self.repository.map(|id| id.to_string()).unwrap_or_default();
        format!("/repositories/{id}{below}")
    }
}

fn linked(answer: Answer, links: Option<String>) -> Answer {
    match links {
        Some(links) => answer.with("link", links),
        None => answer,
    }
}
