//! What the fields of GitHub's types give: from a thing of the state and a field to a value, another thing, or several.

use serde_json::{Map, Value, json};

use crate::standin::{
    accounts::{Account, Identity},
    clock::iso,
    faults::Fault,
    git::object::{Kind, ObjectId, TreeEntry},
    limits::Standing,
    repositories::Repository,
    rest::{affiliation, shapes},
    state::{Found, State},
};

/// Longer texts are cut.
const TEXT_LEN_MAX: usize = 512_000;
/// How much of a blob is looked at for bytes that no text has.
const BINARY_SAMPLE: usize = 8_000;

/// A thing that has fields.
#[derive(Clone)]
pub(super) enum Thing<'s> {
    Query,
    RateLimit,
    Account(&'s Account),
    Connection(Page<'s>),
    Edge { cursor: String, repository: &'s Repository },
    PageInfo(Page<'s>),
    Repository(&'s Repository),
    Reference { repository: &'s Repository, prefix: &'static str, name: String, target: ObjectId },
    Object { repository: &'s Repository, id: ObjectId, path: String },
    Entry { repository: &'s Repository, entry: TreeEntry, path: String },
}

/// A part of a list of repositories.
#[derive(Clone)]
pub(super) struct Page<'s> {
    total: usize,
    shown: Vec<(String, &'s Repository)>,
    has_next: bool,
    has_previous: bool,
}

/// What a field gives.
pub(super) enum Gives<'s> {
    Value(Value),
    Thing(Thing<'s>),
    Things(Vec<Result<Thing<'s>, Problem>>),
}

/// Why a field gives nothing.
pub(super) struct Problem {
    pub(super) kind: &'static str,
    pub(super) message: String,
}

impl Problem {
    fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// What stays the same during a query.
pub(super) struct Context<'s> {
    pub(super) state: &'s State,
    pub(super) identity: &'s Identity,
    pub(super) base: String,
    pub(super) standing: Standing,
    pub(super) cost: u64,
    pub(super) node_count: u64,
    /// Lists may be spoilt.
    pub(super) fault: Option<&'s Fault>,
}

type Given<'s> = Result<Gives<'s>, Problem>;

fn plain<'s>(value: impl Into<Value>) -> Given<'s> {
    Ok(Gives::Value(value.into()))
}

fn maybe<'s>(thing: Option<Thing<'s>>) -> Given<'s> {
    Ok(thing.map_or(Gives::Value(Value::Null), Gives::Thing))
}

impl<'s> Thing<'s> {
    pub(super) fn type_name(&self, context: &Context<'s>) -> &'static str {
        match self {
            Self::Query => "Query",
            Self::RateLimit => "RateLimit",
            Self::Account(account) if account.is_organization => "Organization",
            Self::Account(_) => "User",
            Self::Connection(_) => "RepositoryConnection",
            Self::Edge { .. } => "RepositoryEdge",
            Self::PageInfo(_) => "PageInfo",
            Self::Repository(_) => "Repository",
            Self::Reference { .. } => "Ref",
            Self::Entry { .. } => "TreeEntry",
            Self::Object { id, .. } => match context.state.objects.object(*id).map(|object| object.kind) {
                Some(Kind::Blob) => "Blob",
                Some(Kind::Tree) => "Tree",
                Some(Kind::Commit | Kind::Tag) | None => "Commit",
            },
        }
    }

    /// What a field gives, with its arguments.
    pub(super) fn field(
        &self,
        context: &Context<'s>,
        name: &str,
        arguments: &Map<String, Value>,
    ) -> Given<'s> {
        match self {
            Self::Query => context.root(name, arguments),
            Self::RateLimit => plain(match name {
                "cost" => json!(context.cost),
                "limit" => json!(context.standing.limit),
                "used" => json!(context.standing.used),
                "remaining" => json!(context.standing.remaining()),
                "resetAt" => json!(iso(context.standing.reset)),
                _ => json!(context.node_count),
            }),
            Self::Account(account) => match name {
                "repositories" => context.repositories(account, arguments),
                "login" => plain(account.login.clone()),
                "databaseId" => plain(account.id.0),
                _ => plain(account_id(account)),
            },
            Self::Connection(page) => match name {
                "totalCount" => plain(page.total),
                "pageInfo" => Ok(Gives::Thing(Self::PageInfo(page.clone()))),
                "edges" => {
                    let edge = |(cursor, repository): &(String, &'s Repository)| {
                        Ok(Self::Edge { cursor: cursor.clone(), repository })
                    };
                    Ok(Gives::Things(page.shown.iter().map(edge).collect()))
                }
                _ => {
                    let nodes = page.shown.iter().map(|(_, repository)| Ok(Self::Repository(repository)));
                    Ok(Gives::Things(nodes.collect()))
                }
            },
            Self::Edge { cursor, .. } if name == "cursor" => plain(cursor.clone()),
            Self::Edge { repository, .. } => Ok(Gives::Thing(Self::Repository(repository))),
            Self::PageInfo(page) => plain(match name {
                "endCursor" => json!(page.shown.last().map(|(cursor, _)| cursor)),
                "startCursor" => json!(page.shown.first().map(|(cursor, _)| cursor)),
                "hasNextPage" => json!(page.has_next),
                _ => json!(page.has_previous),
            }),
            Self::Repository(repository) => context.repository_field(repository, name, arguments),
            Self::Reference { repository, prefix, name: short, target } => match name {
                "name" => plain(short.clone()),
                "prefix" => plain(*prefix),
                "target" => {
                    let thing = Self::Object { repository, id: *target, path: String::new() };
                    Ok(Gives::Thing(thing))
                }
                _ => plain(format!("REF_{}_{prefix}{short}", repository.id)),
            },
            Self::Object { repository, id, path } => context.object_field(repository, *id, path, name),
            Self::Entry { repository, entry, path } => context.entry_field(repository, entry, path, name),
        }
    }
}

fn account_id(account: &Account) -> String {
    shapes::node_id(if account.is_organization { "O" } else { "U" }, account.id.0)
}

fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default()
}

impl<'s> Context<'s> {
    fn root(&self, name: &str, arguments: &Map<String, Value>) -> Given<'s> {
        let login = text(arguments, "login");
        let account = |is_organization: bool| {
            self.state.account(login).filter(|account| account.is_organization == is_organization)
        };
        let unknown = |kind: &str| {
            Problem::new("NOT_FOUND", format!("Could not resolve to a {kind} with the login of '{login}'."))
        };
        match name {
            "rateLimit" => Ok(Gives::Thing(Thing::RateLimit)),
            "viewer" => {
                let user = self.identity.user().and_then(|id| self.state.accounts.get(&id));
                let refused = || Problem::new("FORBIDDEN", self.identity.refusal());
                Ok(Gives::Thing(Thing::Account(user.ok_or_else(refused)?)))
            }
            "repositoryOwner" => maybe(self.state.account(login).map(Thing::Account)),
            "user" => Ok(Gives::Thing(Thing::Account(account(false).ok_or_else(|| unknown("User"))?))),
            "organization" => {
                Ok(Gives::Thing(Thing::Account(account(true).ok_or_else(|| unknown("Organization"))?)))
            }
            "repository" => Ok(Gives::Thing(self.repository_named(arguments)?)),
            "node" => Ok(Gives::Thing(self.node(text(arguments, "id"))?)),
            "nodes" => {
                let ids = arguments.get("ids").and_then(Value::as_array).cloned().unwrap_or_default();
                let things = ids.iter().map(|id| self.node(id.as_str().unwrap_or_default()));
                Ok(Gives::Things(things.collect()))
            }
            _ => plain("Q"),
        }
    }

    fn sees(&self, repository: &Repository) -> bool {
        let owner = self.state.accounts.get(&repository.owner);
        owner.is_some_and(|owner| self.identity.sees(repository, owner))
    }

    fn repository_named(&self, arguments: &Map<String, Value>) -> Result<Thing<'s>, Problem> {
        let (owner, name) = (text(arguments, "owner"), text(arguments, "name"));
        let follows = arguments.get("followRenames").and_then(Value::as_bool).unwrap_or(true);
        let id = match self.state.find(owner, name) {
            Found::Repository(id) => Some(id),
            Found::Moved(id) if follows => Some(id),
            Found::Moved(_) | Found::Nothing => None,
        };
        let found = id.and_then(|id| self.state.repositories.get(&id)).filter(|found| self.sees(found));
        let message = format!("Could not resolve to a Repository with the name '{owner}/{name}'.");
        found.map(Thing::Repository).ok_or_else(|| Problem::new("NOT_FOUND", message))
    }

    fn node(&self, id: &str) -> Result<Thing<'s>, Problem> {
        let repository = shapes::of_node_id("R", id)
            .and_then(|number| self.state.repositories.get(&crate::standin::RepositoryId(number)))
            .filter(|repository| self.sees(repository));
        let account = || self.state.accounts.values().find(|account| account_id(account) == id);
        let message = format!("Could not resolve to a node with the global id of '{id}'");
        repository
            .map(Thing::Repository)
            .or_else(|| account().map(Thing::Account))
            .ok_or_else(|| Problem::new("NOT_FOUND", message))
    }

    fn repositories(&self, account: &'s Account, arguments: &Map<String, Value>) -> Given<'s> {
        let truth = |name: &str| arguments.get(name).and_then(Value::as_bool);
        let visibility = [text(arguments, "privacy"), text(arguments, "visibility")];
        let is_viewer = self.identity.user() == Some(account.id);
        let affiliations = ["affiliations", "ownerAffiliations"].map(|name| {
            let given = arguments.get(name).and_then(Value::as_array).cloned();
            given.unwrap_or_else(|| vec!["OWNER".into(), "COLLABORATOR".into()])
        });
        let is_affiliated = |repository: &Repository| {
            if repository.owner == account.id {
                return self.sees(repository);
            }
            let how = affiliation(self.state, self.identity, repository).filter(|_| is_viewer);
            let how = how.map(str::to_uppercase);
            how.is_some_and(|how| {
                affiliations.iter().all(|wanted| wanted.contains(&Value::String(how.clone())))
            })
        };
        let is_wanted = |repository: &&'s Repository| {
            let kind = if repository.is_private { "PRIVATE" } else { "PUBLIC" };
            is_affiliated(repository)
                && visibility.iter().all(|wanted| wanted.is_empty() || *wanted == kind)
                && truth("isArchived").is_none_or(|wanted| wanted == repository.is_archived)
                && truth("isFork").is_none_or(|wanted| wanted == repository.is_fork)
                && truth("isLocked").is_none_or(|wanted| !wanted)
        };
        let mut found: Vec<&'s Repository> = self.state.repositories.values().filter(is_wanted).collect();
        let order = arguments.get("orderBy").cloned().unwrap_or(Value::Null);
        match order["field"].as_str() {
            Some("NAME") => found.sort_by_key(|repository| repository.name.to_lowercase()),
            Some("PUSHED_AT") => found.sort_by_key(|repository| (repository.pushed_at, repository.id)),
            Some("UPDATED_AT") => found.sort_by_key(|repository| (repository.updated_at, repository.id)),
            _ => found.sort_by_key(|repository| (repository.created_at, repository.id)),
        }
        if order["direction"] == "DESC" {
            found.reverse();
        }
        page(&found, arguments, self.fault).map(|page| Gives::Thing(Thing::Connection(page)))
    }

    fn repository_field(
        &self,
        repository: &'s Repository,
        name: &str,
        arguments: &Map<String, Value>,
    ) -> Given<'s> {
        let git = &repository.git;
        match name {
            "defaultBranchRef" => maybe(git.branch(git.head()).map(|target| Thing::Reference {
                repository,
                prefix: "refs/heads/",
                name: git.head().to_owned(),
                target,
            })),
            "ref" => maybe(self.reference(repository, text(arguments, "qualifiedName"))),
            "object" => maybe(self.object(repository, arguments)),
            "owner" => maybe(self.state.accounts.get(&repository.owner).map(Thing::Account)),
            _ => plain(match name {
                "id" => json!(shapes::node_id("R", repository.id.0)),
                "databaseId" => json!(repository.id.0),
                "name" => json!(repository.name),
                "nameWithOwner" => json!(self.state.full_name(repository)),
                "createdAt" => json!(iso(repository.created_at)),
                "updatedAt" => json!(iso(repository.updated_at)),
                "pushedAt" => json!(repository.pushed_at.map(iso)),
                "isArchived" => json!(repository.is_archived),
                "isDisabled" => json!(repository.is_disabled),
                "isEmpty" => json!(git.is_empty()),
                "isFork" => json!(repository.is_fork),
                "isPrivate" => json!(repository.is_private),
                "visibility" => json!(if repository.is_private { "PRIVATE" } else { "PUBLIC" }),
                "url" => {
                    json!(format!("{}/{}", shapes::web(&self.base), self.state.full_name(repository)))
                }
                // locked, template
                _ => json!(false),
            }),
        }
    }

    fn reference(&self, repository: &'s Repository, name: &str) -> Option<Thing<'s>> {
        let tried = [name.to_owned(), format!("refs/heads/{name}"), format!("refs/tags/{name}")];
        let (full, target) = tried.iter().find_map(|name| Some((name, repository.git.reference(name)?)))?;
        let prefixes = ["refs/heads/", "refs/tags/", "refs/"];
        let prefix = prefixes.into_iter().find(|prefix| full.starts_with(prefix))?;
        let name = full.strip_prefix(prefix)?.to_owned();
        Some(Thing::Reference { repository, prefix, name, target })
    }

    /// `HEAD`, `HEAD:path`, or an id.
    fn object(&self, repository: &'s Repository, arguments: &Map<String, Value>) -> Option<Thing<'s>> {
        if repository.is_disabled {
            return None;
        }
        let objects = &self.state.objects;
        if let Ok(id) = text(arguments, "oid").parse::<ObjectId>() {
            let is_known = repository.git.owns(id);
            return is_known.then(|| Thing::Object { repository, id, path: String::new() });
        }
        let expression = text(arguments, "expression");
        let (revision, path) = match expression.split_once(':') {
            Some((revision, path)) => (revision, Some(path.trim_end_matches('/'))),
            None => (expression, None),
        };
        let commit = repository.git.resolve(objects, revision)?;
        let Some(path) = path else {
            return Some(Thing::Object { repository, id: commit, path: String::new() });
        };
        let entry = objects.entry_at(objects.commit(commit)?.tree, path)?;
        Some(Thing::Object { repository, id: entry.id, path: path.to_owned() })
    }

    fn object_field(&self, repository: &'s Repository, id: ObjectId, path: &str, name: &str) -> Given<'s> {
        let objects = &self.state.objects;
        let content = || objects.object(id).map(|object| object.content.clone()).unwrap_or_default();
        let is_binary = |bytes: &[u8]| {
            bytes.iter().take(BINARY_SAMPLE).any(|byte| *byte == 0) || std::str::from_utf8(bytes).is_err()
        };
        let page = || format!("{}/commit/{id}", self.state.full_name(repository));
        match name {
            "repository" => Ok(Gives::Thing(Thing::Repository(repository))),
            "entries" => {
                let inside = |entry: TreeEntry| {
                    let path =
                        if path.is_empty() { entry.name.clone() } else { format!("{path}/{}", entry.name) };
                    Ok(Thing::Entry { repository, entry, path })
                };
                Ok(Gives::Things(objects.tree(id).into_iter().map(inside).collect()))
            }
            "oid" => plain(id.to_string()),
            "abbreviatedOid" => plain(format!("{:.7}", id.to_string())),
            "commitResourcePath" => plain(format!("/{}", page())),
            "commitUrl" => plain(format!("{}/{}", shapes::web(&self.base), page())),
            "committedDate" => {
                plain(objects.commit(id).map_or(Value::Null, |commit| iso(commit.seconds).into()))
            }
            "byteSize" => plain(content().len()),
            "isBinary" => plain(is_binary(&content())),
            "isTruncated" => plain(content().len() > TEXT_LEN_MAX),
            "text" => {
                let bytes = content();
                if is_binary(&bytes) {
                    return plain(Value::Null);
                }
                let cut = bytes.len().min(TEXT_LEN_MAX);
                plain(String::from_utf8_lossy(bytes.get(..cut).unwrap_or_default()).into_owned())
            }
            _ => plain(format!("{}_{id}", &name.to_uppercase())),
        }
    }

    fn entry_field(
        &self,
        repository: &'s Repository,
        entry: &TreeEntry,
        path: &str,
        name: &str,
    ) -> Given<'s> {
        let raw = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
        match name {
            // a submodule's commit lies in another repository
            "object" if entry.mode.kind() == Kind::Commit => plain(Value::Null),
            "object" => {
                let (id, path) = (entry.id, path.to_owned());
                Ok(Gives::Thing(Thing::Object { repository, id, path }))
            }
            _ => plain(match name {
                "name" => json!(entry.name),
                "nameRaw" => json!(raw(&entry.name)),
                "path" => json!(path),
                "pathRaw" => json!(raw(path)),
                "mode" => json!(entry.mode.number()),
                "oid" => json!(entry.id.to_string()),
                "type" => json!(entry.mode.kind().name()),
                "size" if entry.mode.kind() == Kind::Blob => json!(self.state.objects.blob_length(entry.id)),
                "size" => json!(0),
                "extension" => json!(entry.name.rsplit_once('.').map(|(_, end)| format!(".{end}"))),
                // generated
                _ => json!(false),
            }),
        }
    }
}

/// Cuts a list by `first` or `last`, `after` and `before`.
fn page<'s>(
    all: &[&'s Repository],
    arguments: &Map<String, Value>,
    fault: Option<&Fault>,
) -> Result<Page<'s>, Problem> {
    let number = |name: &str| arguments.get(name).and_then(Value::as_u64);
    let connection = "the `repositories` connection";
    for name in ["first", "last"] {
        if let Some(many) = number(name).filter(|many| *many > 100) {
            let message = format!(
                "Requesting {many} records on {connection} exceeds the `{name}` limit of 100 records."
            );
            return Err(Problem::new("EXCESSIVE_PAGINATION", message));
        }
    }
    if number("first").is_none() && number("last").is_none() {
        let message =
            format!("You must provide a `first` or `last` value to properly paginate {connection}.");
        return Err(Problem::new("MISSING_PAGINATION_BOUNDARIES", message));
    }
    let bound = |name: &str| match text(arguments, name) {
        "" => Ok(None),
        cursor => match position(all, cursor) {
            Some(at) => Ok(Some(at)),
            None => {
                let message = format!("`{cursor}` does not appear to be a valid cursor.");
                Err(Problem::new("INVALID_CURSOR_ARGUMENTS", message))
            }
        },
    };
    let mut start = match (bound("after")?, fault) {
        (None, _) => 0,
        (Some(at), Some(Fault::RepeatedItem)) => at,
        (Some(at), Some(Fault::SkippedItem)) => at + 2,
        (Some(at), _) => at + 1,
    }
    .min(all.len());
    let mut end = bound("before")?.unwrap_or(all.len()).max(start);
    if let Some(first) = number("first") {
        end = end.min(start + first as usize);
    } else if let Some(last) = number("last") {
        start = start.max(end.saturating_sub(last as usize));
    }
    let shown = all.iter().enumerate().take(end).skip(start);
    let shown = shown.filter(|_| !matches!(fault, Some(Fault::EmptyPage)));
    Ok(Page {
        total: all.len(),
        shown: shown.map(|(at, repository)| (cursor(at, repository), *repository)).collect(),
        has_next: end < all.len(),
        has_previous: start > 0,
    })
}

fn cursor(at: usize, repository: &Repository) -> String {
    data_encoding::BASE64.encode(format!("cursor:v2:{at}:{}", repository.id).as_bytes())
}

/// Where a cursor's repository stands, or stood when it is gone.
fn position(all: &[&Repository], cursor: &str) -> Option<usize> {
    let decoded = data_encoding::BASE64.decode(cursor.as_bytes()).ok()?;
    let (at, id) = std::str::from_utf8(&decoded).ok()?.strip_prefix("cursor:v2:")?.split_once(':')?;
    let (at, id): (usize, u64) = (at.parse().ok()?, id.parse().ok()?);
    Some(all.iter().position(|repository| repository.id.0 == id).unwrap_or(at.saturating_sub(1)))
}
