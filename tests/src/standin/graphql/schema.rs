//! The part of GitHub's GraphQL schema that is answered, and what in a query does not fit it.
//!
//! A query is held against this table before anything is looked up, as GitHub does: with one unknown field there is no data at
//! all.

use serde_json::{Value, json};

use super::parser::{Document, Field, Place, Selection};

/// A field: name, the type it gives (nothing for a plain value), the arguments it takes.
type FieldOf = (&'static str, &'static str, &'static [&'static str]);

const REPOSITORIES: FieldOf = (
    "repositories",
    "RepositoryConnection",
    &[
        "affiliations",
        "after",
        "before",
        "first",
        "hasIssuesEnabled",
        "isArchived",
        "isFork",
        "isLocked",
        "last",
        "orderBy",
        "ownerAffiliations",
        "privacy",
        "visibility",
    ],
);
const ID: FieldOf = ("id", "", &[]);
const LOGIN: FieldOf = ("login", "", &[]);
const DATABASE_ID: FieldOf = ("databaseId", "", &[]);

const fn plain(name: &'static str) -> FieldOf {
    (name, "", &[])
}

const OBJECT_FIELDS: [FieldOf; 6] = [
    ID,
    plain("oid"),
    plain("abbreviatedOid"),
    plain("commitResourcePath"),
    plain("commitUrl"),
    ("repository", "Repository", &[]),
];

/// Each type with the fields that it does not share with `GitObject`.
const TYPES: &[(&str, &[FieldOf])] = &[
    (
        "Query",
        &[
            ID,
            ("node", "Node", &["id"]),
            ("nodes", "Node", &["ids"]),
            ("organization", "Organization", &["login"]),
            ("rateLimit", "RateLimit", &["dryRun"]),
            ("repository", "Repository", &["followRenames", "name", "owner"]),
            ("repositoryOwner", "RepositoryOwner", &["login"]),
            ("user", "User", &["login"]),
            ("viewer", "User", &[]),
        ],
    ),
    (
        "RateLimit",
        &[
            plain("cost"),
            plain("limit"),
            plain("nodeCount"),
            plain("remaining"),
            plain("resetAt"),
            plain("used"),
        ],
    ),
    ("Node", &[ID]),
    ("RepositoryOwner", &[ID, LOGIN, REPOSITORIES]),
    ("User", &[ID, LOGIN, DATABASE_ID, REPOSITORIES]),
    ("Organization", &[ID, LOGIN, DATABASE_ID, REPOSITORIES]),
    (
        "RepositoryConnection",
        &[
            ("edges", "RepositoryEdge", &[]),
            ("nodes", "Repository", &[]),
            ("pageInfo", "PageInfo", &[]),
            plain("totalCount"),
        ],
    ),
    ("RepositoryEdge", &[plain("cursor"), ("node", "Repository", &[])]),
    ("PageInfo", &[plain("endCursor"), plain("hasNextPage"), plain("hasPreviousPage"), plain("startCursor")]),
    (
        "Repository",
        &[
            ID,
            DATABASE_ID,
            plain("createdAt"),
            ("defaultBranchRef", "Ref", &[]),
            plain("isArchived"),
            plain("isDisabled"),
            plain("isEmpty"),
            plain("isFork"),
            plain("isLocked"),
            plain("isPrivate"),
            plain("isTemplate"),
            plain("name"),
            plain("nameWithOwner"),
            ("object", "GitObject", &["expression", "oid"]),
            ("owner", "RepositoryOwner", &[]),
            plain("pushedAt"),
            ("ref", "Ref", &["qualifiedName"]),
            plain("updatedAt"),
            plain("url"),
            plain("visibility"),
        ],
    ),
    ("Ref", &[ID, plain("name"), plain("prefix"), ("target", "GitObject", &[])]),
    ("GitObject", &[]),
    ("Commit", &[plain("committedDate")]),
    ("Tree", &[("entries", "TreeEntry", &[])]),
    ("Blob", &[plain("byteSize"), plain("isBinary"), plain("isTruncated"), plain("text")]),
    (
        "TreeEntry",
        &[
            plain("extension"),
            plain("isGenerated"),
            plain("mode"),
            plain("name"),
            plain("nameRaw"),
            ("object", "GitObject", &[]),
            plain("oid"),
            plain("path"),
            plain("pathRaw"),
            plain("size"),
            plain("type"),
        ],
    ),
];

fn is_object(kind: &str) -> bool {
    matches!(kind, "GitObject" | "Commit" | "Tree" | "Blob")
}

fn field_of(kind: &str, name: &str) -> Option<&'static FieldOf> {
    let (_, own) = TYPES.iter().find(|(known, _)| *known == kind)?;
    let shared: &[FieldOf] = if is_object(kind) { &OBJECT_FIELDS } else { &[] };
    shared.iter().chain(own.iter()).find(|(known, ..)| *known == name)
}

/// Whether something of one type can be asked for as another.
pub(crate) fn is_a(kind: &str, asked: &str) -> bool {
    let of_owner = matches!(kind, "User" | "Organization");
    let is_node = of_owner || is_object(kind) || matches!(kind, "Repository" | "Ref" | "Query");
    kind == asked
        || (asked == "RepositoryOwner" && of_owner)
        || (asked == "GitObject" && is_object(kind))
        || (asked == "Node" && is_node)
}

/// An error about the query itself.
fn error(place: Place, message: String, code: &str) -> Value {
    json!({
        "message": message, "locations": [{ "line": place.line, "column": place.column }],
        "extensions": { "code": code },
    })
}

/// Everything in a selection that does not fit its type.
pub(crate) fn misfits(document: &Document, kind: &str, selection: &[Selection]) -> Vec<Value> {
    let mut found = Vec::new();
    check(document, kind, selection, 0, &mut found);
    found
}

fn check(document: &Document, kind: &str, selection: &[Selection], depth: usize, found: &mut Vec<Value>) {
    // fragments may name each other in a circle
    if depth > 60 {
        let place = Place { line: 1, column: 1 };
        found.push(error(place, "Fragments nest too deeply".to_owned(), "infiniteLoop"));
        return;
    }
    let is_known = |on: &str| TYPES.iter().any(|(known, _)| *known == on);
    for selected in selection {
        match selected {
            Selection::Field(field) => check_field(document, kind, field, depth, found),
            Selection::Spread(name, place) => match document.fragments.get(name) {
                Some(fragment) if is_known(&fragment.on) => {
                    check(document, &fragment.on, &fragment.selection, depth + 1, found);
                }
                Some(fragment) => {
                    let message =
                        format!("No such type {}, so it can't be a fragment condition", fragment.on);
                    found.push(error(*place, message, "undefinedType"));
                }
                None => {
                    let message = format!("Fragment {name} was used, but not defined");
                    found.push(error(*place, message, "useAndDefineFragment"));
                }
            },
            Selection::Inline { on, selection, place } => match on.as_deref() {
                Some(on) if !is_known(on) => {
                    let message = format!("No such type {on}, so it can't be a fragment condition");
                    found.push(error(*place, message, "undefinedType"));
                }
                Some(on) if !is_a(on, kind) && !is_a(kind, on) => {
                    let message = format!("Fragment on {on} can't be spread inside {kind}");
                    found.push(error(*place, message, "cannotSpreadFragment"));
                }
                on => check(document, on.unwrap_or(kind), selection, depth + 1, found),
            },
        }
    }
}

fn check_field(document: &Document, kind: &str, field: &Field, depth: usize, found: &mut Vec<Value>) {
    let name = &field.name;
    if name == "__typename" {
        return;
    }
    let Some((_, gives, takes)) = field_of(kind, name) else {
        let message = format!("Field '{name}' doesn't exist on type '{kind}'");
        found.push(error(field.place, message, "undefinedField"));
        return;
    };
    for (argument, _) in &field.arguments {
        if !takes.contains(&argument.as_str()) {
            let message = format!("Field '{name}' doesn't accept argument '{argument}'");
            found.push(error(field.place, message, "argumentNotAccepted"));
        }
    }
    match (gives.is_empty(), field.selection.is_empty()) {
        (true, false) => {
            let message = format!(
                "Selections can't be made on scalars (field '{name}' returns a scalar but has selections)"
            );
            found.push(error(field.place, message, "selectionMismatch"));
        }
        (false, true) => {
            let message = format!(
                "Field must have selections (field '{name}' returns {gives} but has no selections. Did you mean '{name} {{ ... }}'?)"
            );
            found.push(error(field.place, message, "selectionMismatch"));
        }
        (false, false) => check(document, gives, &field.selection, depth + 1, found),
        (true, true) => {}
    }
}
