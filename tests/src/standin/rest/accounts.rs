//! Who one is, what one may see, and how much is left: everything that is not below a repository.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::shapes;
use crate::standin::{
    accounts::{Grant, Identity, Level, Limited},
    answer::{Answer, Outcome},
    call::Call,
    clock::iso,
    ids::{InstallationId, RepositoryId},
    limits::Bucket,
    repositories::Repository,
    state::State,
};

/// Name and address of each entry point.
const ENTRY_POINTS: [(&str, &str); 33] = [
    ("current_user_url", "/user"),
    ("current_user_authorizations_html_url", "/settings/connections/applications{/client_id}"),
    ("authorizations_url", "/authorizations"),
    ("code_search_url", "/search/code?q={query}{&page,per_page,sort,order}"),
    ("commit_search_url", "/search/commits?q={query}{&page,per_page,sort,order}"),
    ("emails_url", "/user/emails"),
    ("emojis_url", "/emojis"),
    ("events_url", "/events"),
    ("feeds_url", "/feeds"),
    ("followers_url", "/user/followers"),
    ("following_url", "/user/following{/target}"),
    ("gists_url", "/gists{/gist_id}"),
    ("hub_url", "/hub"),
    ("issue_search_url", "/search/issues?q={query}{&page,per_page,sort,order}"),
    ("issues_url", "/issues"),
    ("keys_url", "/user/keys"),
    ("label_search_url", "/search/labels?q={query}&repository_id={repository_id}{&page,per_page}"),
    ("notifications_url", "/notifications"),
    ("organization_url", "/orgs/{org}"),
    ("organization_repositories_url", "/orgs/{org}/repos{?type,page,per_page,sort}"),
    ("organization_teams_url", "/orgs/{org}/teams"),
    ("public_gists_url", "/gists/public"),
    ("rate_limit_url", "/rate_limit"),
    ("repository_url", "/repos/{owner}/{repo}"),
    ("repository_search_url", "/search/repositories?q={query}{&page,per_page,sort,order}"),
    ("current_user_repositories_url", "/user/repos{?type,page,per_page,sort}"),
    ("starred_url", "/user/starred{/owner}{/repo}"),
    ("starred_gists_url", "/gists/starred"),
    ("topic_search_url", "/search/topics?q={query}{&page,per_page}"),
    ("user_url", "/users/{user}"),
    ("user_organizations_url", "/user/orgs"),
    ("user_repositories_url", "/users/{user}/repos{?type,page,per_page,sort}"),
    ("user_search_url", "/search/users?q={query}{&page,per_page,sort,order}"),
];

pub(super) fn root(_: &mut State, call: &Call<'_>) -> Outcome {
    let entries = ENTRY_POINTS
        .iter()
        .map(|(name, path)| ((*name).to_owned(), Value::from(format!("{}{path}", call.base))));
    Ok(Answer::json(200, Value::Object(entries.collect())))
}

pub(super) fn rate_limit(state: &mut State, call: &Call<'_>) -> Outcome {
    let now = state.now();
    let mut resources = Map::new();
    for bucket in Bucket::ALL {
        let standing = state.limits.standing(call.identity, bucket, now);
        let shown = json!({
            "limit": standing.limit, "used": standing.used, "remaining": standing.remaining(),
            "reset": standing.reset, "resource": bucket.name(),
        });
        resources.insert(bucket.name().to_owned(), shown);
    }
    let core = resources.get("core").cloned();
    Ok(Answer::json(200, json!({ "resources": resources, "rate": core })))
}

pub(super) fn user(state: &mut State, call: &Call<'_>) -> Outcome {
    let user = call.identity.user().and_then(|id| state.accounts.get(&id));
    let user = user.ok_or_else(Answer::requires_authentication)?;
    let mut body = shapes::account(&call.base, user);
    let owned = state.repositories.values().filter(|repository| repository.owner == user.id);
    let (private, public): (Vec<_>, Vec<_>) = owned.partition(|repository| repository.is_private);
    let more = json!({
        "name": user.login, "company": null, "blog": null, "location": null, "email": null,
        "hireable": null, "bio": null, "public_repos": public.len(), "public_gists": 0, "followers": 0,
        "following": 0, "created_at": iso(0), "updated_at": iso(0), "private_gists": 0,
        "total_private_repos": private.len(), "owned_private_repos": private.len(), "disk_usage": 0,
        "collaborators": 0, "two_factor_authentication": true,
    });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    Ok(Answer::json(200, body))
}

/// How a list of repositories may be asked for.
struct Order<'a> {
    sort: &'a str,
    is_descending: bool,
}

impl<'a> Order<'a> {
    fn of(call: &'a Call<'_>, default_sort: &'a str) -> Self {
        let sort = call.request.query("sort").unwrap_or(default_sort);
        let default_direction = if sort == "full_name" { "asc" } else { "desc" };
        let direction = call.request.query("direction").unwrap_or(default_direction);
        Self { sort, is_descending: direction == "desc" }
    }

    fn apply(&self, state: &State, repositories: &mut [&Repository]) {
        let name = |repository: &Repository| state.full_name(repository).to_lowercase();
        match self.sort {
            "full_name" => repositories.sort_by_cached_key(|repository| name(repository)),
            "pushed" => repositories.sort_by_key(|repository| (repository.pushed_at, repository.id)),
            "updated" => repositories.sort_by_key(|repository| (repository.updated_at, repository.id)),
            _ => repositories.sort_by_key(|repository| (repository.created_at, repository.id)),
        }
        if self.is_descending {
            repositories.reverse();
        }
    }
}

fn is_of_type(repository: &Repository, kind: &str) -> bool {
    match kind {
        "public" => !repository.is_private,
        "private" => repository.is_private,
        "forks" => repository.is_fork,
        "sources" => !repository.is_fork,
        _ => true,
    }
}

/// `owner`, `collaborator` or `organization_member`: how a repository comes to be in somebody's list.
pub(crate) fn affiliation(state: &State, identity: &Identity, of: &Repository) -> Option<&'static str> {
    let user = identity.user()?;
    let owner = state.accounts.get(&of.owner)?;
    let is_selected = match &identity.grant {
        Grant::FineGrained { limited, .. } => limited.holds(of),
        Grant::Classic { scopes, .. } => !of.is_private || scopes.iter().any(|scope| scope == "repo"),
        Grant::Installation { .. } | Grant::App { .. } | Grant::Anonymous { .. } => false,
    };
    let affiliation = if of.owner == user {
        "owner"
    } else if of.collaborators.contains_key(&user) {
        "collaborator"
    } else if owner.members.contains_key(&user) {
        "organization_member"
    } else {
        return None;
    };
    is_selected.then_some(affiliation)
}

pub(super) fn own_repositories(state: &mut State, call: &Call<'_>) -> Outcome {
    let query = |name: &str| call.request.query(name);
    if query("type").is_some() && (query("visibility").is_some() || query("affiliation").is_some()) {
        let message = "If you specify visibility or affiliation, you cannot specify type.";
        return Err(Answer::unprocessable(message));
    }
    let affiliations = query("affiliation").unwrap_or("owner,collaborator,organization_member");
    let (visibility, kind) = (query("visibility").unwrap_or("all"), query("type").unwrap_or("all"));
    let is_wanted = |repository: &&Repository| {
        let Some(how) = affiliation(state, call.identity, repository) else { return false };
        let is_affiliated = affiliations.split(',').any(|wanted| wanted.trim() == how);
        let is_kind = match kind {
            "owner" => how == "owner",
            "member" => how != "owner",
            other => is_of_type(repository, other),
        };
        is_affiliated && is_kind && is_of_type(repository, visibility)
    };
    let mut repositories: Vec<&Repository> = state.repositories.values().filter(is_wanted).collect();
    Order::of(call, "full_name").apply(state, &mut repositories);
    let show = |of: &&Repository| shapes::repository(state, &call.base, Some(call.identity), of);
    call.list(&repositories, "/user/repos", show)
}

pub(super) fn user_repositories(state: &mut State, call: &Call<'_>) -> Outcome {
    let account = state.account(call.parameter("username")).ok_or_else(Answer::not_found)?;
    let is_shown = |repository: &&Repository| repository.owner == account.id && !repository.is_private;
    let mut repositories: Vec<&Repository> = state.repositories.values().filter(is_shown).collect();
    Order::of(call, "full_name").apply(state, &mut repositories);
    let show = |of: &&Repository| shapes::repository(state, &call.base, Some(call.identity), of);
    call.list(&repositories, &format!("/user/{}/repos", account.id), show)
}

pub(super) fn organization_repositories(state: &mut State, call: &Call<'_>) -> Outcome {
    let account = state.account(call.parameter("org")).filter(|account| account.is_organization);
    let account = account.ok_or_else(Answer::not_found)?;
    let kind = call.request.query("type").unwrap_or("all");
    let is_shown = |repository: &&Repository| {
        repository.owner == account.id
            && is_of_type(repository, kind)
            && call.identity.sees(repository, account)
    };
    let mut repositories: Vec<&Repository> = state.repositories.values().filter(is_shown).collect();
    Order::of(call, "created").apply(state, &mut repositories);
    let show = |of: &&Repository| shapes::repository(state, &call.base, Some(call.identity), of);
    call.list(&repositories, &format!("/organizations/{}/repos", account.id), show)
}

pub(super) fn installation_repositories(state: &mut State, call: &Call<'_>) -> Outcome {
    let Grant::Installation { limited, .. } = &call.identity.grant else {
        let message = "You must authenticate with an installation access token in order to list repositories for an installation.";
        return Err(Answer::error(403, message, ""));
    };
    let repositories: Vec<&Repository> = state.repositories.values().filter(|of| limited.holds(of)).collect();
    let show = |of: &&Repository| shapes::repository(state, &call.base, Some(call.identity), of);
    let mut answer = call.wrapped_list("repositories", &repositories, "/installation/repositories", show)?;
    if let crate::standin::answer::Content::Json(Value::Object(body)) = &mut answer.content {
        let selection = if limited.repositories.is_some() { "selected" } else { "all" };
        body.insert("repository_selection".to_owned(), selection.into());
    }
    Ok(answer)
}

/// What an app asks for.
#[derive(Deserialize)]
struct TokenWanted {
    repositories: Option<Vec<String>>,
    repository_ids: Option<Vec<u64>>,
    permissions: Option<BTreeMap<String, String>>,
}

pub(super) fn create_installation_token(state: &mut State, call: &Call<'_>) -> Outcome {
    const HOUR: u64 = 3_600;
    if !matches!(call.identity.grant, Grant::App { .. }) {
        return Err(Answer::error(401, "A JSON web token could not be decoded", ""));
    }
    let id: InstallationId = call.number("installation_id")?;
    let installation = state.installations.get(&id).cloned().ok_or_else(Answer::not_found)?;
    let wanted: TokenWanted = call.body()?;
    let mut limited = Limited {
        owner: installation.owner,
        repositories: installation.repositories,
        permissions: installation.permissions,
    };
    let unreachable = || {
        let message = "There is at least one repository that does not exist or is not accessible to the parent installation.";
        Answer::unprocessable(message)
    };
    if wanted.repositories.is_some() || wanted.repository_ids.is_some() {
        let owned: Vec<&Repository> = state.repositories.values().filter(|of| limited.holds(of)).collect();
        let mut selected: Vec<RepositoryId> = Vec::new();
        for name in wanted.repositories.iter().flatten() {
            let found = owned.iter().find(|repository| repository.name.eq_ignore_ascii_case(name));
            selected.push(found.ok_or_else(unreachable)?.id);
        }
        for id in wanted.repository_ids.iter().flatten() {
            let found = owned.iter().find(|repository| repository.id.0 == *id);
            selected.push(found.ok_or_else(unreachable)?.id);
        }
        limited.repositories = Some(selected);
    }
    if let Some(permissions) = wanted.permissions {
        let mut narrowed = BTreeMap::new();
        for (name, level) in permissions {
            let level = if level == "read" { Level::Read } else { Level::Write };
            if limited.permissions.get(&name).is_none_or(|given| *given < level) && name != "metadata" {
                let message = "The permissions requested are not granted to this installation.";
                return Err(Answer::unprocessable(message));
            }
            narrowed.insert(name, level);
        }
        limited.permissions = narrowed;
    }
    let permissions: BTreeMap<&str, &str> =
        limited.permissions.iter().map(|(name, level)| (name.as_str(), level.name())).collect();
    let mut body = json!({
        "permissions": permissions,
        "repository_selection": if limited.repositories.is_some() { "selected" } else { "all" },
    });
    let expires_at = state.now() + HOUR;
    let token = state.give_out("ghs", Grant::Installation { id, limited }, Some(expires_at));
    body["token"] = token.into();
    body["expires_at"] = iso(expires_at).into();
    Ok(Answer::json(201, body))
}
