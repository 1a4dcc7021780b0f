//! Our GraphQL queries against the part of the schema that we have: field by field, no more.

use std::collections::BTreeMap;

use wfengine_github::graphql::{BY_ID, OF_OWNER, OF_VIEWER};

use crate::{
    fake::{Fake, Reply},
    folder::folder,
    json_of,
};

/// The fields of each type in the schema, without their arguments.
fn fields(schema: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut types: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current = None;
    let mut depth = 0_i32;
    for line in schema.lines() {
        let words = line.trim();
        if let Some(rest) = words.strip_prefix("type ").or_else(|| words.strip_prefix("interface ")) {
            current = rest.split([' ', '{']).next().map(str::to_owned);
            continue;
        }
        if words == "}" && depth == 0 {
            current = None;
        }
        let Some(name) = &current else { continue };
        let field = words.split([':', '(']).next().unwrap_or_default();
        let is_field = depth == 0 && line.starts_with("  ") && !line.starts_with("   ");
        let kind = words.rsplit_once(": ").map(|(_, kind)| kind.trim_matches(['[', ']', '!']).to_owned());
        let of_type = types.entry(name.clone()).or_default();
        if is_field && !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            of_type
                .insert(field.to_owned(), kind.clone().filter(|_| !words.ends_with('(')).unwrap_or_default());
        }
        depth += i32::from(words.ends_with('(')) - i32::from(words.starts_with(')'));
        if let Some((_, kind)) = words.strip_prefix(")").and_then(|rest| rest.rsplit_once(": ")) {
            let last = kind.trim_matches(['[', ']', '!']).to_owned();
            if let Some(open) = of_type.values_mut().find(|kind| kind.is_empty()) {
                *open = last;
            }
        }
    }
    types
}

/// Walks a query and names every field that its type does not have.
fn unknown_fields(query: &str, types: &BTreeMap<String, BTreeMap<String, String>>) -> (usize, Vec<String>) {
    let code: String =
        query.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = code.as_str();
    while let Some(c) = rest.chars().next() {
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$'))
            .unwrap_or(rest.len())
            .max(1);
        let quoted = rest.strip_prefix('"').map(|rest| rest.find('"').unwrap() + 2);
        let end = quoted.unwrap_or(end);
        if !c.is_whitespace() {
            tokens.push(rest[..end].to_owned());
        }
        rest = &rest[end..];
    }
    let (mut seen, mut unknown) = (0, Vec::new());
    let mut stack: Vec<String> = Vec::new();
    let mut next = String::new();
    let mut index = 0;
    while index < tokens.len() {
        let token = tokens[index].clone();
        match token.as_str() {
            "(" => {
                let mut depth = 0;
                while index < tokens.len() {
                    depth += i32::from(tokens[index] == "(") - i32::from(tokens[index] == ")");
                    if depth == 0 {
                        break;
                    }
                    index += 1;
                }
            }
            "{" => stack.push(next.clone()),
            "}" => drop(stack.pop()),
            "query" => {
                next = "Query".to_owned();
                index += 1;
            }
            "fragment" => {
                next = tokens[index + 3].clone();
                index += 3;
            }
            "." if tokens.get(index + 3).is_some_and(|token| token == "on") => {
                next = tokens[index + 4].clone();
                index += 4;
            }
            "." => index += 3,
            "__typename" => {}
            _ if tokens.get(index + 1).is_some_and(|token| token == ":") => index += 1,
            field => {
                seen += 1;
                let parent = stack.last().unwrap();
                match types.get(parent).and_then(|fields| fields.get(field)) {
                    Some(kind) => next.clone_from(kind),
                    None => unknown.push(format!("{parent}.{field}")),
                }
            }
        }
        index += 1;
    }
    (seen, unknown)
}

#[test]
fn our_queries_ask_for_fields_that_exist() {
    let Some(corpus) = folder("WFENGINE_CORPUS") else { return };
    let types = fields(&std::fs::read_to_string(corpus.join("graphql/schema-subset.graphql")).unwrap());
    assert_eq!(types["Repository"]["defaultBranchRef"], "Ref");
    assert_eq!(types["Query"]["repositoryOwner"], "RepositoryOwner");
    for query in [OF_OWNER, OF_VIEWER, BY_ID] {
        let (seen, unknown) = unknown_fields(query, &types);
        assert!(unknown.is_empty() && seen > 20, "{seen}: {unknown:?}");
    }
    let (_, unknown) =
        unknown_fields("query A { viewer { login nope repositories { nodes { isNew } } } }", &types);
    assert_eq!(unknown, ["User.nope", "Repository.isNew"], "the check finds what is wrong");
}

#[tokio::test]
async fn graphql_examples_are_read() {
    let Some(corpus) = folder("WFENGINE_CORPUS") else { return };
    for (name, repositories) in
        [("repositories-of-owner", 3), ("repositories-of-viewer", 1), ("workflow-sources-by-id", 1)]
    {
        let example = json_of(&corpus.join("graphql/examples").join(format!("{name}.json")));
        // our queries call the first folder `github`, and there is no second page to ask for
        let body = example["response"]["body"].to_string().replace(
            "\"object\":{\"__typename\":\"Tree\",\"entries\"",
            "\"github\":{\"__typename\":\"Tree\",\"entries\"",
        );
        let body = body.replace("\"hasNextPage\":true", "\"hasNextPage\":false");
        let fake = Fake::in_turn(vec![Reply::json(&body)]).await;
        let client = fake.client();
        let listing = match name {
            "workflow-sources-by-id" => client.sources_by_id(&["a", "b"]).await,
            "repositories-of-viewer" => client.repositories_with_sources(None).await,
            _ => client.repositories_with_sources(Some("octo-org")).await,
        };
        let listing = listing.unwrap();
        assert_eq!((listing.repositories.len(), listing.unreadable), (repositories, 0), "{name}");
        let texts = listing.repositories.iter().filter_map(|repository| repository.github.as_ref());
        let texts = texts.flat_map(|folder| &folder.entries).filter(|entry| entry.text().is_some()).count();
        assert!(texts > 0 || name == "repositories-of-viewer", "{name}: no text");
    }
}
