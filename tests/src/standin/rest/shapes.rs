//! How GitHub writes accounts, repositories and commits into bodies.
//!
//! Every shape has all fields that the description requires of any of its variants, so that one function serves them all.

use serde_json::{Map, Value, json};

use crate::standin::{
    accounts::{Account, Identity, Role},
    clock::iso,
    git::object::{Commit, ObjectId},
    repositories::Repository,
    request::encoded,
    state::State,
};

/// An opaque id, as REST and GraphQL both give it.
pub(crate) fn node_id(kind: &str, id: u64) -> String {
    let bytes = [b"standin".as_slice(), &id.to_be_bytes()].concat();
    format!("{kind}_{}", data_encoding::BASE64URL_NOPAD.encode(&bytes))
}

/// The number in such an id.
pub(crate) fn of_node_id(kind: &str, text: &str) -> Option<u64> {
    let encoded = text.strip_prefix(kind)?.strip_prefix('_')?;
    let bytes = data_encoding::BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?;
    Some(u64::from_be_bytes(bytes.strip_prefix(b"standin")?.try_into().ok()?))
}

/// The web page of something: the host without the prefix of the interface.
pub(crate) fn web(base: &str) -> &str {
    base.strip_suffix("/api/v3").unwrap_or(base)
}

/// `simple-user`.
pub(crate) fn account(base: &str, account: &Account) -> Value {
    let url = format!("{base}/users/{}", account.login);
    json!({
        "login": account.login,
        "id": account.id.0,
        "node_id": node_id(if account.is_organization { "O" } else { "U" }, account.id.0),
        "avatar_url": format!("{}/avatars/{}", web(base), account.id),
        "gravatar_id": "",
        "url": url,
        "html_url": format!("{}/{}", web(base), account.login),
        "followers_url": format!("{url}/followers"),
        "following_url": format!("{url}/following{{/other_user}}"),
        "gists_url": format!("{url}/gists{{/gist_id}}"),
        "starred_url": format!("{url}/starred{{/owner}}{{/repo}}"),
        "subscriptions_url": format!("{url}/subscriptions"),
        "organizations_url": format!("{url}/orgs"),
        "repos_url": format!("{url}/repos"),
        "events_url": format!("{url}/events{{/privacy}}"),
        "received_events_url": format!("{url}/received_events"),
        "type": if account.is_organization { "Organization" } else { "User" },
        "user_view_type": "public",
        "site_admin": false,
    })
}

/// Parts of a repository's addresses: field, what follows its address, and so on.
const ADDRESSES: [(&str, &str); 36] = [
    ("archive_url", "/{archive_format}{/ref}"),
    ("assignees_url", "/assignees{/user}"),
    ("blobs_url", "/git/blobs{/sha}"),
    ("branches_url", "/branches{/branch}"),
    ("collaborators_url", "/collaborators{/collaborator}"),
    ("comments_url", "/comments{/number}"),
    ("commits_url", "/commits{/sha}"),
    ("compare_url", "/compare/{base}...{head}"),
    ("contents_url", "/contents/{+path}"),
    ("contributors_url", "/contributors"),
    ("deployments_url", "/deployments"),
    ("downloads_url", "/downloads"),
    ("events_url", "/events"),
    ("forks_url", "/forks"),
    ("git_commits_url", "/git/commits{/sha}"),
    ("git_refs_url", "/git/refs{/sha}"),
    ("git_tags_url", "/git/tags{/sha}"),
    ("hooks_url", "/hooks"),
    ("issue_comment_url", "/issues/comments{/number}"),
    ("issue_events_url", "/issues/events{/number}"),
    ("issues_url", "/issues{/number}"),
    ("keys_url", "/keys{/key_id}"),
    ("labels_url", "/labels{/name}"),
    ("languages_url", "/languages"),
    ("merges_url", "/merges"),
    ("milestones_url", "/milestones{/number}"),
    ("notifications_url", "/notifications{?since,all,participating}"),
    ("pulls_url", "/pulls{/number}"),
    ("releases_url", "/releases{/id}"),
    ("stargazers_url", "/stargazers"),
    ("statuses_url", "/statuses/{sha}"),
    ("subscribers_url", "/subscribers"),
    ("subscription_url", "/subscription"),
    ("tags_url", "/tags"),
    ("teams_url", "/teams"),
    ("trees_url", "/git/trees{/sha}"),
];

/// A repository as it stands inside other things: `minimal-repository` without what changes.
pub(crate) fn repository_link(state: &State, base: &str, repository: &Repository) -> Value {
    Value::Object(repository_fields(state, base, repository))
}

fn repository_fields(state: &State, base: &str, repository: &Repository) -> Map<String, Value> {
    let full_name = state.full_name(repository);
    let url = format!("{base}/repos/{full_name}");
    let owner = state.accounts.get(&repository.owner).map_or(Value::Null, |owner| account(base, owner));
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("id", repository.id.0.into());
    set("node_id", node_id("R", repository.id.0).into());
    set("name", repository.name.clone().into());
    set("full_name", full_name.clone().into());
    set("private", repository.is_private.into());
    set("owner", owner);
    set("html_url", format!("{}/{full_name}", web(base)).into());
    set("description", Value::Null);
    set("fork", repository.is_fork.into());
    for (name, below) in ADDRESSES {
        set(name, format!("{url}{below}").into());
    }
    set("url", url.into());
    fields
}

/// `full-repository`, which satisfies `repository` and `minimal-repository` as well.
pub(crate) fn repository(state: &State, base: &str, identity: Option<&Identity>, of: &Repository) -> Value {
    let mut fields = repository_fields(state, base, of);
    let page = format!("{}/{}", web(base), state.full_name(of));
    // a repository without commits counts as pushed when it was made
    let pushed_at = of.pushed_at.unwrap_or(of.created_at);
    let more = json!({
        "git_url": page.replacen("http://", "git://", 1) + ".git",
        "ssh_url": format!("git@{}.git", page.trim_start_matches("http://").replacen('/', ":", 1)),
        "clone_url": format!("{page}.git"),
        "svn_url": page,
        "mirror_url": null, "homepage": null, "language": null, "license": null,
        "forks_count": 0, "stargazers_count": 0, "watchers_count": 0, "open_issues_count": 0, "size": 0,
        "forks": 0, "open_issues": 0, "watchers": 0, "subscribers_count": 0, "network_count": 0,
        "has_issues": true, "has_projects": true, "has_wiki": true, "has_pages": false,
        "has_downloads": true, "has_discussions": false,
        "allow_forking": true, "is_template": false, "web_commit_signoff_required": false, "topics": [],
        "archived": of.is_archived,
        "disabled": of.is_disabled,
        "visibility": if of.is_private { "private" } else { "public" },
        "default_branch": of.git.head(),
        "pushed_at": iso(pushed_at),
        "created_at": iso(of.created_at),
        "updated_at": iso(of.updated_at),
    });
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    if let Some(role) = identity.and_then(|identity| role(state, identity, of)) {
        let has = |needed: Role| role >= needed;
        let permissions = json!({
            "admin": has(Role::Admin), "maintain": has(Role::Admin), "push": has(Role::Write),
            "triage": has(Role::Write), "pull": true,
        });
        fields.insert("permissions".to_owned(), permissions);
    }
    Value::Object(fields)
}

fn role(state: &State, identity: &Identity, of: &Repository) -> Option<Role> {
    let owner = state.accounts.get(&of.owner)?;
    Some(identity.user().and_then(|user| of.role_of(user, owner)).unwrap_or(Role::Read))
}

/// `commit`: without files and statistics, which nobody here reads.
pub(crate) fn commit(state: &State, base: &str, of: &Repository, id: ObjectId, commit: &Commit) -> Value {
    let full_name = state.full_name(of);
    let url = format!("{base}/repos/{full_name}");
    let page = format!("{}/{full_name}", web(base));
    let person = json!({ "name": commit.author, "email": commit.email, "date": iso(commit.seconds) });
    let author = state.account(&commit.author).map_or(Value::Null, |author| account(base, author));
    let parents: Vec<Value> = commit
        .parents
        .iter()
        .map(|parent| {
            json!({
                "sha": parent.to_string(), "url": format!("{url}/commits/{parent}"),
                "html_url": format!("{page}/commit/{parent}"),
            })
        })
        .collect();
    json!({
        "sha": id.to_string(),
        "node_id": format!("C_{id}"),
        "url": format!("{url}/commits/{id}"),
        "html_url": format!("{page}/commit/{id}"),
        "comments_url": format!("{url}/commits/{id}/comments"),
        "commit": {
            "author": person, "committer": person, "message": commit.message,
            "tree": { "sha": commit.tree.to_string(), "url": format!("{url}/git/trees/{}", commit.tree) },
            "url": format!("{url}/git/commits/{id}"),
            "comment_count": 0,
            "verification":
                { "verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null },
        },
        "author": author, "committer": author,
        "parents": parents,
    })
}

/// `simple-commit`, as runs and pushes carry it.
pub(crate) fn commit_summary(id: ObjectId, commit: &Commit) -> Value {
    let person = json!({ "name": commit.author, "email": commit.email });
    json!({
        "id": id.to_string(), "tree_id": commit.tree.to_string(), "message": commit.message,
        "timestamp": iso(commit.seconds), "author": person, "committer": person,
    })
}

/// The address of a path at a reference below a repository.
pub(crate) fn contents_url(base: &str, full_name: &str, path: &str, reference: &str) -> String {
    format!("{base}/repos/{full_name}/contents/{}?ref={}", encoded(path), encoded(reference))
}
