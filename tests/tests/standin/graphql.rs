//! GraphQL answers what is selected, costs what GitHub says, and refuses what is not in the schema.

use std::time::Duration;

use serde_json::{Value, json};
use wfengine_tests::standin::{
    Bucket, Entry, Level, Options, PrimaryLimits, RepositoryOptions, Selection, Standin, TokenKind,
};

use crate::{
    Client, WORKFLOW, assert_contract_kept, one_repository, require, requirements::Requirement, standin,
};

const OWNER: &str = "query Q($owner: String!, $first: Int!, $after: String) {
  rateLimit { cost limit remaining used resetAt nodeCount }
  repositoryOwner(login: $owner) { __typename login
    repositories(first: $first, after: $after, ownerAffiliations: [OWNER], orderBy: { field: NAME, direction: ASC }) {
      totalCount pageInfo { hasNextPage endCursor } nodes { ...Sources } } } }
fragment Sources on Repository { name isEmpty pushedAt defaultBranchRef { name target { oid } }
  files: object(expression: \"HEAD:.github/workflows\") { __typename
    ... on Tree { oid entries { name type mode oid path object { __typename ... on Blob { byteSize isBinary isTruncated text } } } } } }";

#[tokio::test]
async fn one_query_brings_the_workflows_of_a_page_of_repositories() {
    let (standin, client) = one_repository().await;
    standin.add_repository("octo/empty", &RepositoryOptions::default());
    let first = client.graphql(OWNER, json!({ "owner": "octo", "first": 1, "after": null })).await.json();
    assert_eq!(first["errors"], Value::Null);
    let rate = &first["data"]["rateLimit"];
    assert_eq!(
        (&rate["cost"], &rate["used"], &rate["nodeCount"], &rate["resetAt"]),
        (&json!(1), &json!(1), &json!(1), &json!("2026-01-02T04:04:05Z"))
    );
    let list = &first["data"]["repositoryOwner"]["repositories"];
    assert_eq!((&list["totalCount"], &list["pageInfo"]["hasNextPage"]), (&json!(2), &json!(true)));
    assert_eq!(
        list["nodes"],
        json!([{ "name": "empty", "isEmpty": true, "pushedAt": null, "defaultBranchRef": null, "files": null }])
    );
    let after = list["pageInfo"]["endCursor"].clone();
    let second = client.graphql(OWNER, json!({ "owner": "octo", "first": 1, "after": after })).await.json();
    let node = &second["data"]["repositoryOwner"]["repositories"]["nodes"][0];
    let entry = &node["files"]["entries"][0];
    assert_eq!(
        (&entry["name"], &entry["type"], &entry["mode"], &entry["path"]),
        (&json!("ci.yml"), &json!("blob"), &json!(33_188), &json!(".github/workflows/ci.yml"))
    );
    assert_eq!(
        entry["object"],
        json!({ "__typename": "Blob", "byteSize": WORKFLOW.len(), "isBinary": false, "isTruncated": false, "text": WORKFLOW })
    );
    assert_eq!(second["data"]["repositoryOwner"]["repositories"]["pageInfo"]["hasNextPage"], false);
    let unknown = client.graphql(OWNER, json!({ "owner": "nobody", "first": 1 })).await.json();
    assert_eq!(unknown["data"]["repositoryOwner"], Value::Null);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn the_queries_of_the_corpus_get_answers_of_the_documented_shape() {
    let Some(corpus) =
        require(Requirement::Corpus, "the stand-in's GraphQL answers compared with the examples")
    else {
        return;
    };
    let (standin, client) = one_repository().await;
    let id = client.read("/repos/octo/one").await.json()["node_id"].clone();
    for (name, variables) in [
        ("repositories-of-owner", json!({ "owner": "octo", "first": 100, "after": null })),
        ("repositories-of-viewer", json!({ "first": 100, "after": null })),
        ("workflow-sources-by-id", json!({ "ids": [id, "R_gone"] })),
    ] {
        let read = |path: String| std::fs::read_to_string(corpus.join(path)).expect(name);
        let example: Value =
            serde_json::from_str(&read(format!("graphql/examples/{name}.json"))).expect("JSON");
        let query = read(format!("graphql/{name}.graphql"));
        let reply = client.graphql(&query, variables).await.json();
        assert_same_shape(name, &reply["data"], &example["response"]["body"]["data"]);
    }
    assert_contract_kept(&standin);
}

/// Objects have the same fields wherever both have an object; a list's first items are compared.
fn assert_same_shape(place: &str, ours: &Value, theirs: &Value) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let names = |fields: &serde_json::Map<String, Value>| fields.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(ours), names(theirs), "{place}");
            for (name, value) in ours {
                assert_same_shape(&format!("{place}.{name}"), value, &theirs[name]);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            if let (Some(ours), Some(theirs)) = (ours.first(), theirs.first()) {
                assert_same_shape(&format!("{place}[0]"), ours, theirs);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn aliases_nodes_and_partial_data_come_together() {
    let (standin, client) = one_repository().await;
    let id = client.read("/repos/octo/one").await.json()["node_id"].clone();
    let query = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename ... on Repository { nameWithOwner a: object(expression: \"HEAD\") { __typename oid } \
                 a: object(expression: \"HEAD\") { abbreviatedOid } b: object(expression: \"main:README.md\") { ... on Blob { text } } c: object(expression: \"HEAD:gone\") { oid } } } \
                 gone: repository(owner: \"octo\", name: \"gone\") { id } }";
    let reply = client.graphql(query, json!({ "ids": [id, "R_gone"] })).await;
    let head = standin.head("octo/one", "main").expect("a commit");
    let body = reply.json();
    let expected = json!({
        "__typename": "Repository", "nameWithOwner": "octo/one",
        "a": { "__typename": "Commit", "oid": head, "abbreviatedOid": &head[..7] }, "b": { "text": "# one\n" }, "c": null,
    });
    assert_eq!((reply.status, &body["data"]), (200, &json!({ "nodes": [expected, null], "gone": null })));
    let errors: Vec<_> = body["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| (error["type"].clone(), error["path"].clone()))
        .collect();
    assert_eq!(errors, [(json!("NOT_FOUND"), json!(["nodes", 1])), (json!("NOT_FOUND"), json!(["gone"]))]);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn binary_large_and_odd_entries_are_marked() {
    let (standin, client) = one_repository().await;
    let head = standin.head("octo/one", "main").expect("a commit");
    let changes = [
        ("d/binary", Entry::File(vec![0, 1])),
        ("d/large", Entry::File(vec![b'x'; 600_000])),
        ("d/link", Entry::Symlink("x".into())),
        ("d/module", Entry::Submodule(head)),
        ("d/sub/x", Entry::Executable(b"x".to_vec())),
    ];
    standin.push_entries("octo/one", "main", &changes, "odd");
    let query = "{ repository(owner: \"octo\", name: \"one\") { object(expression: \"HEAD:d\") { ... on Tree { entries { mode type object { ... on Blob { isBinary isTruncated text } } } } } } }";
    let body = client.graphql(query, json!({})).await.json();
    let entries = body["data"]["repository"]["object"]["entries"].as_array().expect("entries").clone();
    let modes: Vec<_> = entries.iter().map(|entry| (entry["mode"].clone(), entry["type"].clone())).collect();
    assert_eq!(
        modes,
        [(33_188, "blob"), (33_188, "blob"), (40_960, "blob"), (57_344, "commit"), (16_384, "tree")]
            .map(|(mode, kind)| (json!(mode), json!(kind)))
    );
    assert_eq!(entries[0]["object"], json!({ "isBinary": true, "isTruncated": false, "text": null }));
    assert_eq!(
        (&entries[1]["object"]["isTruncated"], entries[1]["object"]["text"].as_str().map(str::len)),
        (&json!(true), Some(512_000))
    );
    assert_eq!((&entries[3]["object"], &entries[4]["object"]), (&Value::Null, &json!({})));
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn tokens_see_what_they_see_in_rest() {
    let standin = standin().await;
    standin.add_repository("octo/open", &RepositoryOptions::default());
    standin.add_repository("octo/secret", &RepositoryOptions::private());
    let query =
        "{ repositoryOwner(login: \"octo\") { repositories(first: 10) { totalCount nodes { name } } } }";
    let count = |kind: TokenKind| {
        let client = Client::new(&standin).with_token(&standin.token(&kind));
        async move {
            client.graphql(query, json!({})).await.json()["data"]["repositoryOwner"]["repositories"]["totalCount"].clone()
        }
    };
    assert_eq!(count(TokenKind::classic("octo")).await, 2);
    assert_eq!(count(TokenKind::classic("eve")).await, 1);
    let app = TokenKind::Installation {
        owner: "octo".into(),
        repositories: Selection::All,
        permissions: vec![("contents".into(), Level::Read)],
    };
    assert_eq!(count(app.clone()).await, 2);
    let app = Client::new(&standin).with_token(&standin.token(&app));
    let viewer = app.graphql("{ viewer { login } }", json!({})).await.json();
    assert_eq!(
        (&viewer["data"]["viewer"], &viewer["errors"][0]["type"]),
        (&Value::Null, &json!("FORBIDDEN"))
    );
    let anonymous = Client::new(&standin).graphql("{ viewer { login } }", json!({})).await;
    assert_eq!(anonymous.status, 401);
    let wrong = Client::new(&standin).with_token("gho_x").graphql("{ viewer { login } }", json!({})).await;
    assert_eq!(
        (wrong.status, &wrong.json()["documentation_url"]),
        (401, &json!("https://docs.github.com/graphql"))
    );
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn what_is_not_in_the_schema_has_no_data_and_is_a_problem() {
    let (standin, client) = one_repository().await;
    for (query, message) in [
        ("{ viewer { login stars } }", "Field 'stars' doesn't exist on type 'User'"),
        ("{ viewer }", "Field must have selections"),
        ("{ viewer { login { x } } }", "Selections can't be made on scalars"),
        ("{ viewer(id: 1) { login } }", "Field 'viewer' doesn't accept argument 'id'"),
        ("{ viewer { ...Gone } }", "Fragment Gone was used, but not defined"),
        ("{ viewer { ... on Tree { oid } } }", "Fragment on Tree can't be spread inside User"),
        (
            "query($n: Int!) { viewer { repositories(first: $n) { totalCount } } }",
            "Variable $n of type Int! was provided invalid value",
        ),
        ("{ viewer { login }", "Parse error on"),
        ("{ viewer { ...A } } fragment A on User { ...A }", "Fragments nest too deeply"),
    ] {
        let body = client.graphql(query, json!({})).await.json();
        let found = body["errors"][0]["message"].as_str().expect("an error");
        assert!(found.starts_with(message), "{query}: {found}");
        assert_eq!(body.get("data"), None, "{query}");
    }
    assert_eq!(standin.contract_problems().len(), 9);
}

#[tokio::test]
async fn pages_have_bounds() {
    let (standin, client) = one_repository().await;
    for (arguments, kind) in [
        ("", "MISSING_PAGINATION_BOUNDARIES"),
        ("(first: 101)", "EXCESSIVE_PAGINATION"),
        ("(first: 1, after: \"x\")", "INVALID_CURSOR_ARGUMENTS"),
    ] {
        let body = client
            .graphql(&format!("{{ viewer {{ repositories{arguments} {{ totalCount }} }} }}"), json!({}))
            .await
            .json();
        assert_eq!(
            (&body["errors"][0]["type"], &body["data"]["viewer"]["repositories"]),
            (&json!(kind), &Value::Null)
        );
    }
    for name in ["octo/a", "octo/b", "octo/c"] {
        standin.add_repository(name, &RepositoryOptions::default());
    }
    let query = "{ viewer { repositories(last: 2, orderBy: { field: NAME, direction: ASC }) { edges { cursor node { name } } pageInfo { hasPreviousPage startCursor } } } }";
    let list = client.graphql(query, json!({})).await.json()["data"]["viewer"]["repositories"].clone();
    let names: Vec<_> =
        list["edges"].as_array().expect("edges").iter().map(|edge| edge["node"]["name"].clone()).collect();
    assert_eq!((names, &list["pageInfo"]["hasPreviousPage"]), (vec![json!("c"), json!("one")], &json!(true)));
    assert_eq!(list["pageInfo"]["startCursor"], list["edges"][0]["cursor"]);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn points_are_counted_apart_and_run_out_with_status_200() {
    let primary = PrimaryLimits { graphql: 3, ..PrimaryLimits::default() };
    let standin = Standin::start(Options { primary, ..Options::default() }).await.expect("a stand-in");
    let client = Client::new(&standin).with_token(&standin.token(&TokenKind::classic("octo")));
    let dear = "{ rateLimit { cost remaining } viewer { repositories(first: 100) { nodes { owner { repositories(first: 1) { totalCount } } } } } }";
    let reply = client.graphql(dear, json!({})).await;
    assert_eq!(reply.json()["data"]["rateLimit"], json!({ "cost": 2, "remaining": 1 }));
    assert_eq!((reply.header("x-ratelimit-resource"), reply.header("etag")), (Some("graphql"), None));
    let refused = client.graphql(dear, json!({})).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["type"]), (200, &json!("RATE_LIMITED")));
    assert_eq!(refused.number("x-ratelimit-remaining"), 0);
    assert_eq!(client.read("/user").await.status, 200, "REST goes on");
    assert_eq!(standin.requests_during_limits(), []);
    client.graphql(dear, json!({})).await;
    assert_eq!(standin.requests_during_limits().len(), 1);
    standin.clock().advance(Duration::from_secs(3_600));
    let enterprise = client.change("POST", "/api/graphql", &json!({ "query": dear })).await;
    assert_eq!(enterprise.json()["data"]["rateLimit"]["cost"], 2);
    let too_many = "{ viewer { repositories(first: 100) { nodes { owner { repositories(first: 100) { nodes { owner { repositories(first: 100) { totalCount } } } } } } } } }";
    let refused = client.graphql(too_many, json!({})).await.json();
    assert_eq!(refused["errors"][0]["type"], "MAX_NODE_LIMIT_EXCEEDED");
    assert_eq!(standin.remaining(Bucket::Graphql, "nobody"), None);
    assert_contract_kept(&standin);
}
