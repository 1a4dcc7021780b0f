//! The operations of REST: one table, from method and path to what runs.
//!
//! Repositories, organisations and users are also reached by number (`/repositories/{id}/...`), as GitHub's own links do. Access
//! is decided here, before a handler sees the request; handlers only do what was asked.

mod accounts;
mod contents;
mod git_data;
mod hooks;
mod results;
mod runners;
mod runs;
pub(crate) mod shapes;
mod workflows;

use super::{
    accounts::{Access, Grant, Level, Needs, Role},
    answer::{Answer, Outcome},
    call::Call,
    ids::{AccountId, RepositoryId},
    limits::Bucket,
    request::{Request, decoded},
    state::{Found, State},
};

pub(crate) use accounts::affiliation;
pub(crate) use hooks::shape as hook_shape;
pub(crate) use results::check_run_shape;
pub(crate) use runs::{job_shape, shape as run_shape};
pub(crate) use workflows::shape as workflow_shape;

type Handler = fn(&mut State, &Call<'_>) -> Outcome;

/// One operation.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    /// `{name}` is one part of the path, `{name...}` any number of them.
    pub(crate) pattern: &'static str,
    /// Its name in GitHub's description.
    pub(crate) operation: &'static str,
    pub(crate) access: For,
    pub(crate) bucket: Bucket,
    pub(crate) handler: Handler,
}

/// For whom an operation is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum For {
    /// Also for those without a token.
    Everybody,
    /// With any token.
    Somebody,
    /// A person's token.
    Person,
    /// In a repository.
    Repository(Needs),
    /// For those who administer an organisation's runners.
    Organization(Level),
}

const fn read(permission: &'static str) -> For {
    For::Repository(Needs { permission, level: Level::Read, role: Role::Read })
}

const fn write(permission: &'static str) -> For {
    For::Repository(Needs { permission, level: Level::Write, role: Role::Write })
}

const fn administer(permission: &'static str, level: Level) -> For {
    For::Repository(Needs { permission, level, role: Role::Admin })
}

const fn route(
    method: &'static str,
    pattern: &'static str,
    operation: &'static str,
    access: For,
    handler: Handler,
) -> Route {
    Route { method, pattern, operation, access, bucket: Bucket::Core, handler }
}

const R: &str = "/repos/{owner}/{repo}";

/// What stands below a repository comes without its first two parts. The first route that fits decides.
const ROUTES: &[Route] = &[
    route("GET", "/", "meta/root", For::Everybody, accounts::root),
    route("GET", "/rate_limit", "rate-limit/get", For::Everybody, accounts::rate_limit),
    route("GET", "/user", "users/get-authenticated", For::Person, accounts::user),
    route("GET", "/user/repos", "repos/list-for-authenticated-user", For::Person, accounts::own_repositories),
    route(
        "GET",
        "/users/{username}/repos",
        "repos/list-for-user",
        For::Everybody,
        accounts::user_repositories,
    ),
    route(
        "GET",
        "/orgs/{org}/repos",
        "repos/list-for-org",
        For::Everybody,
        accounts::organization_repositories,
    ),
    route(
        "GET",
        "/installation/repositories",
        "apps/list-repos-accessible-to-installation",
        For::Somebody,
        accounts::installation_repositories,
    ),
    route(
        "POST",
        "/app/installations/{installation_id}/access_tokens",
        "apps/create-installation-access-token",
        For::Somebody,
        accounts::create_installation_token,
    ),
    route("GET", "{R}", "repos/get", read("metadata"), contents::repository),
    route("GET", "{R}/contents/{path...}", "repos/get-content", read("contents"), contents::contents),
    route("GET", "{R}/git/trees/{tree_sha...}", "git/get-tree", read("contents"), git_data::tree),
    route("GET", "{R}/git/blobs/{file_sha}", "git/get-blob", read("contents"), git_data::blob),
    route("POST", "{R}/git/refs", "git/create-ref", write("contents"), git_data::create_reference),
    route(
        "GET",
        "{R}/git/matching-refs/{prefix...}",
        "git/list-matching-refs",
        read("contents"),
        git_data::matching_references,
    ),
    route("GET", "{R}/branches/{branch...}", "repos/get-branch", read("contents"), git_data::branch),
    route(
        "GET",
        "{R}/commits/{ref...}/status",
        "repos/get-combined-status-for-ref",
        read("statuses"),
        results::combined_status,
    ),
    route(
        "GET",
        "{R}/commits/{ref...}/statuses",
        "repos/list-commit-statuses-for-ref",
        read("statuses"),
        results::statuses,
    ),
    route("GET", "{R}/commits/{ref...}", "repos/get-commit", read("contents"), git_data::commit),
    route(
        "POST",
        "{R}/statuses/{sha}",
        "repos/create-commit-status",
        write("statuses"),
        results::create_status,
    ),
    route("POST", "{R}/check-runs", "checks/create", write("checks"), results::create_check_run),
    route("GET", "{R}/check-runs/{check_run_id}", "checks/get", read("checks"), results::check_run),
    route(
        "PATCH",
        "{R}/check-runs/{check_run_id}",
        "checks/update",
        write("checks"),
        results::update_check_run,
    ),
    route("GET", "{R}/actions/workflows", "actions/list-repo-workflows", read("actions"), workflows::list),
    route(
        "POST",
        "{R}/actions/workflows/{workflow_id}/dispatches",
        "actions/create-workflow-dispatch",
        write("actions"),
        workflows::dispatch,
    ),
    route(
        "PUT",
        "{R}/actions/workflows/{workflow_id}/disable",
        "actions/disable-workflow",
        write("actions"),
        workflows::disable,
    ),
    route(
        "PUT",
        "{R}/actions/workflows/{workflow_id}/enable",
        "actions/enable-workflow",
        write("actions"),
        workflows::enable,
    ),
    route(
        "GET",
        "{R}/actions/workflows/{workflow_id}/runs",
        "actions/list-workflow-runs",
        read("actions"),
        runs::of_workflow,
    ),
    route(
        "GET",
        "{R}/actions/workflows/{workflow_id}",
        "actions/get-workflow",
        read("actions"),
        workflows::one,
    ),
    route("GET", "{R}/actions/runs", "actions/list-workflow-runs-for-repo", read("actions"), runs::list),
    route(
        "POST",
        "{R}/actions/runs/{run_id}/cancel",
        "actions/cancel-workflow-run",
        write("actions"),
        runs::cancel,
    ),
    route(
        "GET",
        "{R}/actions/runs/{run_id}/jobs",
        "actions/list-jobs-for-workflow-run",
        read("actions"),
        runs::jobs,
    ),
    route("GET", "{R}/actions/runs/{run_id}", "actions/get-workflow-run", read("actions"), runs::one),
    route("GET", "{R}/actions/jobs/{job_id}", "actions/get-job-for-workflow-run", read("actions"), runs::job),
    route(
        "GET",
        "{R}/hooks",
        "repos/list-webhooks",
        administer("repository_hooks", Level::Read),
        hooks::list,
    ),
    route(
        "POST",
        "{R}/hooks",
        "repos/create-webhook",
        administer("repository_hooks", Level::Write),
        hooks::create,
    ),
];

fn all_routes() -> impl Iterator<Item = &'static Route> {
    const RUNNERS: &[[Route; 2]] = &runners::ROUTES;
    const ONE_LABEL: &[Route] = &runners::ONE_LABEL;
    ROUTES.iter().chain(RUNNERS.as_flattened()).chain(ONE_LABEL)
}

/// A request's operation and what its path says.
pub(crate) struct Matched {
    pub(crate) route: &'static Route,
    pub(crate) parameters: Vec<(&'static str, String)>,
    /// The path by name, when it came by number.
    pub(crate) path_by_name: String,
}

/// Finds the operation of a request.
pub(crate) fn matched(state: &State, request: &Request) -> Option<Matched> {
    let path_by_name = by_name(state, &request.path);
    let parts: Vec<String> = path_by_name.split('/').skip(1).map(decoded).collect();
    // the body of HEAD is left out on the way
    let method = if request.method == "HEAD" { "GET" } else { &request.method };
    let routes = all_routes().filter(|route| route.method == method);
    let mut found = routes.filter_map(|route| Some((route, fitting(route.pattern, &parts)?)));
    let (route, parameters) = found.next()?;
    Some(Matched { route, parameters, path_by_name })
}

/// `/repositories/1/x` as `/repos/owner/name/x`, and likewise organisations and users.
fn by_name(state: &State, path: &str) -> String {
    let mut parts = path.splitn(4, '/').skip(1);
    let (kind, id, rest) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let Some(id) = id.and_then(|id| id.parse::<u64>().ok()) else { return path.to_owned() };
    let below = rest.map(|rest| format!("/{rest}")).unwrap_or_default();
    let account = || state.accounts.get(&AccountId(id)).map(|account| account.login.clone());
    let named = match kind {
        "repositories" => {
            let repository = state.repositories.get(&RepositoryId(id));
            repository.map(|repository| format!("/repos/{}", state.full_name(repository)))
        }
        "organizations" => account().map(|login| format!("/orgs/{login}")),
        "user" => account().map(|login| format!("/users/{login}")),
        _ => return path.to_owned(),
    };
    match named {
        Some(named) => named + &below,
        // gone: a path that is well formed and leads nowhere
        None if kind == "repositories" => format!("/repos/-/-{below}"),
        None => path.to_owned(),
    }
}

/// What the path says for each name of a pattern.
fn fitting(pattern: &'static str, parts: &[String]) -> Option<Vec<(&'static str, String)>> {
    let (in_repository, pattern) = match pattern.strip_prefix("{R}") {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let prefix = if in_repository { R.split('/').skip(1) } else { "".split('/').skip(1) };
    let wanted: Vec<&'static str> = prefix.chain(pattern.split('/').skip(1)).collect();
    let name = |part: &'static str| part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
    let greedy = wanted.iter().position(|part| part.ends_with("...}"));
    let after = greedy.map_or(0, |at| wanted.len() - at - 1);
    let mut found = Vec::new();
    let mut rest = parts;
    for (at, part) in wanted.iter().enumerate() {
        if greedy == Some(at) {
            let taken = rest.len().checked_sub(after)?;
            let (middle, tail) = rest.split_at(taken);
            let text = middle.join("/");
            // a path inside a repository may be empty, its root, and the beginning of a name may end anywhere
            let is_open = matches!(*part, "{path...}" | "{prefix...}");
            if !is_open && (text.is_empty() || text.ends_with('/')) {
                return None;
            }
            found.push((name(part)?.trim_end_matches("..."), text));
            rest = tail;
            continue;
        }
        let (first, tail) = rest.split_first()?;
        match name(part) {
            Some(name) if !first.is_empty() => found.push((name, first.clone())),
            None if first == part => {}
            _ => return None,
        }
        rest = tail;
    }
    rest.is_empty().then_some(found)
}

/// Lets a request through to its repository, or says why not.
pub(crate) fn admitted(
    state: &State,
    call: &Call<'_>,
    route: &Route,
) -> Result<Option<RepositoryId>, Answer> {
    let identity = call.identity;
    let needs = match route.access {
        For::Everybody => return Ok(None),
        For::Somebody | For::Person if identity.is_anonymous() => {
            return Err(Answer::requires_authentication());
        }
        For::Somebody => return Ok(None),
        For::Person if identity.user().is_some() => return Ok(None),
        For::Person => return Err(Answer::error(403, identity.refusal(), "")),
        For::Organization(level) => return organization_admitted(state, call, level).map(|()| None),
        For::Repository(needs) => needs,
    };
    let found = state.find(call.parameter("owner"), call.parameter("repo"));
    let (id, has_moved) = match found {
        Found::Repository(id) => (id, false),
        Found::Moved(id) => (id, true),
        Found::Nothing => return Err(Answer::not_found()),
    };
    let repository = state.repositories.get(&id).ok_or_else(Answer::not_found)?;
    let owner = state.accounts.get(&repository.owner).ok_or_else(Answer::not_found)?;
    if has_moved {
        return Err(match identity.sees(repository, owner) {
            true => moved(call, id),
            false => Answer::not_found(),
        });
    }
    let permission = format!("{}={}", needs.permission, needs.level.name());
    match identity.may(repository, owner, needs) {
        Access::Allowed => {}
        Access::Hidden => return Err(Answer::not_found()),
        Access::Missing => {
            let answer = Answer::error(403, identity.refusal(), "");
            return Err(answer.with("x-accepted-github-permissions", permission));
        }
    }
    if repository.is_disabled && route.operation != "repos/get" {
        return Err(Answer::error(403, "Repository access blocked", ""));
    }
    if repository.is_archived && needs.level == Level::Write {
        return Err(Answer::error(403, "Repository was archived so is read-only.", ""));
    }
    Ok(Some(id))
}

/// Whether somebody may look at, or change, the runners of an organisation.
fn organization_admitted(state: &State, call: &Call<'_>, level: Level) -> Result<(), Answer> {
    const PERMISSION: &str = "organization_self_hosted_runners";
    let organization = state.account(call.parameter("org")).filter(|account| account.is_organization);
    let organization = organization.ok_or_else(Answer::not_found)?;
    let is_owner = |user: &AccountId| organization.members.get(user) == Some(&Role::Admin);
    let limited = match &call.identity.grant {
        Grant::Classic { user, scopes } => {
            let is_scoped = scopes.iter().any(|scope| scope == "admin:org");
            return if is_scoped && is_owner(user) { Ok(()) } else { Err(Answer::not_found()) };
        }
        Grant::FineGrained { user, limited } if is_owner(user) => limited,
        Grant::Installation { limited, .. } => limited,
        Grant::FineGrained { .. } | Grant::App { .. } | Grant::Anonymous { .. } => {
            return Err(Answer::not_found());
        }
    };
    let is_given = limited.permissions.get(PERMISSION).is_some_and(|given| *given >= level);
    match (limited.owner == organization.id, is_given) {
        (true, true) => Ok(()),
        (true, false) => {
            let answer = Answer::error(403, call.identity.refusal(), "");
            Err(answer.with("x-accepted-github-permissions", format!("{PERMISSION}={}", level.name())))
        }
        (false, _) => Err(Answer::not_found()),
    }
}

/// The answer for a former name.
fn moved(call: &Call<'_>, id: RepositoryId) -> Answer {
    let request = call.request;
    let below: Vec<&str> = request.path.splitn(5, '/').skip(4).collect();
    let below = below.first().map(|below| format!("/{below}")).unwrap_or_default();
    let query = request.query_text.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{}/repositories/{id}{below}{query}", call.base);
    let (status, message) = match request.method.as_str() {
        "GET" | "HEAD" => (301, "Moved Permanently"),
        _ => (307, "Temporary Redirect"),
    };
    let documentation =
        "https://docs.github.com/rest/guides/best-practices-for-using-the-rest-api#follow-redirects";
    let body = serde_json::json!({ "message": message, "url": location, "documentation_url": documentation });
    Answer::json(status, body).with("location", location)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> Vec<String> {
        path.split('/').skip(1).map(decoded).collect()
    }

    #[test]
    fn patterns_take_a_path_apart() {
        let names = |pattern, path| fitting(pattern, &parts(path));
        let own = |pairs: &[(&'static str, &str)]| {
            Some(pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect::<Vec<_>>())
        };
        let repository = [("owner", "a"), ("repo", "b")];
        assert_eq!(names("{R}", "/repos/a/b"), own(&repository));
        assert_eq!(names("{R}", "/repos/a/b/"), None, "a trailing slash");
        let with = |name, value| own(&[repository[0], repository[1], (name, value)]);
        assert_eq!(names("{R}/contents/{path...}", "/repos/a/b/contents/"), with("path", ""));
        assert_eq!(names("{R}/contents/{path...}", "/repos/a/b/contents/x%2Fy/z"), with("path", "x/y/z"));
        assert_eq!(
            names("{R}/commits/{ref...}/status", "/repos/a/b/commits/heads/m/status"),
            with("ref", "heads/m")
        );
        assert_eq!(names("{R}/commits/{ref...}/status", "/repos/a/b/commits/status"), None);
        assert_eq!(names("/", "/"), own(&[]));
    }

    #[test]
    fn every_operation_has_one_route() {
        let names: std::collections::BTreeSet<_> = all_routes().map(|route| route.operation).collect();
        assert_eq!(names.len(), all_routes().count());
    }
}
