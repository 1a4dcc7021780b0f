//! GraphQL: a hundred repositories with all their workflow files in one request, where REST needs hundreds.
//!
//! Its budget is its own (`graphql`, in points), which is why it serves when `core` is spent. An answer may bring data and errors
//! side by side; both are kept. It has no tags: what changed is told by the ids of trees.
//!
//! Deliberately not here: changes. All our queries read, so they may be repeated.

mod sources;

use std::collections::BTreeSet;

use hyper::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

pub use sources::{BranchHead, RepositorySources, SourceEntry, SourceFolder};

use crate::{
    client::{Call, Client, Entry, Repeat},
    dates,
    error::{ApiError, GraphqlError},
    limiter::{AnswerHeaders, Bucket, Kind},
    rest::owner,
};

/// The query behind [`Client::repositories_with_sources`] for one owner.
pub const OF_OWNER: &str =
    concat!(include_str!("graphql/repositories-of-owner.graphql"), include_str!("graphql/sources.graphql"));
/// The same for everything that the token sees.
pub const OF_VIEWER: &str =
    concat!(include_str!("graphql/repositories-of-viewer.graphql"), include_str!("graphql/sources.graphql"));
/// The query behind [`Client::sources_by_id`].
pub const BY_ID: &str =
    concat!(include_str!("graphql/sources-by-id.graphql"), include_str!("graphql/sources.graphql"));

/// Repositories of a page at first. GitHub answers within ten seconds or not at all, so a page that is too much is halved.
const PAGE_MAX: usize = 100;
const PAGE_MIN: usize = 6;
const PAGES_MAX: u32 = 400;
/// Errors kept of one answer.
const ERRORS_MAX: usize = 20;

/// What an answer brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered<T> {
    /// The data.
    pub data: T,
    /// What could not be had beside it.
    pub errors: Vec<GraphqlError>,
}

/// Repositories with their workflow files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourcesListing {
    /// The repositories, without doubles.
    pub repositories: Vec<RepositorySources>,
    /// What could not be had, such as a repository that is gone.
    pub errors: Vec<GraphqlError>,
    /// Requests made.
    pub pages: u32,
    /// Points that GitHub says they cost.
    pub points: u64,
    /// There are more than were wanted.
    pub is_cut: bool,
    /// Entries that could not be read.
    pub unreadable: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    #[serde(default)]
    cost: u64,
    limit: Option<u64>,
    remaining: Option<u64>,
    used: Option<u64>,
    reset_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    has_next_page: bool,
    end_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    page_info: PageInfo,
    #[serde(default = "Vec::new")]
    nodes: Vec<Option<Entry<RepositorySources>>>,
}

#[derive(Deserialize)]
struct Owner {
    repositories: Option<Connection>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnerData {
    #[serde(alias = "viewer")]
    repository_owner: Option<Owner>,
}

#[derive(Deserialize)]
struct NodesData {
    #[serde(default = "Vec::new")]
    nodes: Vec<Option<Entry<RepositorySources>>>,
}

impl Client {
    /// Asks a query that only reads. Data beside errors is a success; no data at all is [`ApiError::Graphql`]. The query should
    /// ask for `rateLimit`, whose cost is counted.
    pub async fn graphql<T: DeserializeOwned + Send>(
        &self,
        query: &str,
        variables: &(impl Serialize + Sync),
    ) -> Result<Answered<T>, ApiError> {
        self.ask(query, variables, Repeat::Always).await.map(|(answered, _)| answered)
    }

    async fn ask<T: DeserializeOwned + Send>(
        &self,
        query: &str,
        variables: &(impl Serialize + Sync),
        repeat: Repeat,
    ) -> Result<(Answered<T>, u64), ApiError> {
        #[derive(Deserialize)]
        struct Costs {
            #[serde(rename = "rateLimit")]
            rate_limit: Option<Cost>,
        }
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow, default)]
            data: Option<&'a serde_json::value::RawValue>,
            #[serde(default)]
            errors: Option<Vec<GraphqlError>>,
        }
        let body = json!({ "query": query, "variables": variables });
        let call = Call {
            address: Some(self.settings().graphql.to_string()),
            kind: Kind::Read,
            bucket: Bucket::Graphql,
            repeat,
            ..Call::change(Method::POST, "/graphql", Some(&body))
        };
        let read = |body: &[u8]| {
            let Envelope { data, errors } = serde_json::from_slice(body)?;
            let text = data.map(serde_json::value::RawValue::get).filter(|text| *text != "null");
            let cost = text.and_then(|text| serde_json::from_str::<Costs>(text).ok()?.rate_limit);
            let data = text.map(serde_json::from_str::<T>).transpose();
            Ok((data, cost, errors.unwrap_or_default()))
        };
        let (data, cost, mut errors) = self.run(&call, &read).await?.fetched.value;
        errors.truncate(ERRORS_MAX);
        let points = cost.as_ref().map_or(0, |cost| cost.cost);
        if let Some(cost) = cost {
            self.note_cost(&cost);
        }
        let place = call.place(&call.path);
        match data {
            Ok(Some(data)) => Ok((Answered { data, errors }, points)),
            // data full of holes that the shape does not allow: the errors say why
            Err(problem) if errors.is_empty() => {
                Err(ApiError::Unexpected { place, problem: crate::error::clean(&problem.to_string(), 200) })
            }
            Ok(None) | Err(_) => Err(ApiError::Graphql { place, errors }),
        }
    }

    fn note_cost(&self, cost: &Cost) {
        self.count_points(cost.cost);
        self.told(
            &Bucket::Graphql,
            &AnswerHeaders {
                limit: cost.limit,
                remaining: cost.remaining,
                used: cost.used,
                reset_s: cost.reset_at.as_deref().and_then(dates::rfc3339_s),
                date_s: Some(self.server_s()),
                ..AnswerHeaders::default()
            },
        );
    }

    /// The repositories of an owner, or (`None`) everything that the token sees, each with both folders of workflows and the
    /// texts in them. One point for a hundred repositories. An app's token has no viewer: name its account.
    pub async fn repositories_with_sources(&self, of: Option<&str>) -> Result<SourcesListing, ApiError> {
        let (query, name) = match of {
            Some(name) => (OF_OWNER, Some(owner(name)?)),
            None => (OF_VIEWER, None),
        };
        let mut listing = SourcesListing::default();
        let mut ids = BTreeSet::new();
        let mut size = PAGE_MAX;
        let mut after: Option<String> = None;
        loop {
            let variables = match name {
                Some(name) => json!({ "owner": name, "first": size, "after": after }),
                None => json!({ "first": size, "after": after }),
            };
            let Some((answered, points)) =
                self.page::<OwnerData>(query, &variables, &mut size, &mut listing).await?
            else {
                continue;
            };
            listing.points += points;
            let errors = answered.errors.clone();
            listing.errors.extend(answered.errors);
            listing.errors.truncate(ERRORS_MAX);
            let Some(connection) = answered.data.repository_owner.and_then(|owner| owner.repositories) else {
                let place = crate::Place { method: "POST", path: "/graphql".to_owned() };
                if listing.errors.is_empty() {
                    return Err(ApiError::NotFound { place, needs: None });
                }
                return Err(ApiError::Graphql { place, errors: listing.errors });
            };
            listing.take(connection.nodes, &errors, &mut ids);
            after = connection.page_info.end_cursor.filter(|_| connection.page_info.has_next_page);
            if after.is_none() {
                return Ok(listing);
            }
            if listing.pages >= PAGES_MAX {
                listing.is_cut = true;
                return Ok(listing);
            }
        }
    }

    /// The same for single repositories by their ids in GraphQL, such as those whose trees changed. One that cannot be read is
    /// missing, and an error says so.
    pub async fn sources_by_id(&self, ids: &[&str]) -> Result<SourcesListing, ApiError> {
        let mut listing = SourcesListing::default();
        let mut known = BTreeSet::new();
        let (mut size, mut done) = (PAGE_MAX, 0);
        while done < ids.len() {
            let some = &ids[done..ids.len().min(done + size)];
            let variables = json!({ "ids": some });
            let Some((answered, points)) =
                self.page::<NodesData>(BY_ID, &variables, &mut size, &mut listing).await?
            else {
                continue;
            };
            listing.points += points;
            listing.take(answered.data.nodes, &answered.errors, &mut known);
            listing.errors.extend(answered.errors);
            done += some.len();
        }
        listing.errors.truncate(ERRORS_MAX);
        Ok(listing)
    }

    /// One page; `None` when it was too much at once and the next attempt asks for half.
    async fn page<T: DeserializeOwned + Send>(
        &self,
        query: &str,
        variables: &(impl Serialize + Sync),
        size: &mut usize,
        listing: &mut SourcesListing,
    ) -> Result<Option<(Answered<T>, u64)>, ApiError> {
        listing.pages += 1;
        // the smallest page is repeated like any other reading
        let repeat = if *size > PAGE_MIN { Repeat::Unsent } else { Repeat::Always };
        let is_too_much = |errors: &[GraphqlError]| {
            let kinds = ["RESOURCE_LIMITS_EXCEEDED", "MAX_NODE_LIMIT_EXCEEDED", "TIMEOUT"];
            errors.iter().any(|error| error.kind.as_deref().is_some_and(|kind| kinds.contains(&kind)))
        };
        let asked = self.ask(query, variables, repeat).await;
        let was_too_much = match &asked {
            Ok((answered, _)) => is_too_much(&answered.errors),
            Err(ApiError::Graphql { errors, .. }) => is_too_much(errors),
            Err(ApiError::TooLarge { .. }) => true,
            Err(error) => error.is_transient(),
        };
        if !was_too_much || *size <= PAGE_MIN {
            return asked.map(Some);
        }
        *size = (*size / 2).max(PAGE_MIN);
        self.pause(0, None).await;
        Ok(None)
    }
}

impl SourcesListing {
    fn take(
        &mut self,
        nodes: Vec<Option<Entry<RepositorySources>>>,
        errors: &[GraphqlError],
        ids: &mut BTreeSet<String>,
    ) {
        for (index, node) in nodes.into_iter().enumerate() {
            let Some(node) = node else { continue };
            match node {
                Entry::Read(mut repository) if ids.insert(repository.id.clone()) => {
                    repository.has_holes = errors.iter().any(|error| error.concerns(index));
                    self.repositories.push(repository)
                }
                Entry::Read(_) => {}
                Entry::Unreadable(_) => self.unreadable += 1,
            }
        }
    }
}
