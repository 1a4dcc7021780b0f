//! Every request about runners against GitHub's description of it: path, query and body; and what the examples' answers become.

use serde_json::Value;
use wfengine_github::{JitWanted, RunnerDeleted, RunnerScope, models::JitFiles};

use crate::{
    examples,
    fake::{Fake, Reply, Seen},
    folder::folder,
    json_of,
};

/// Whether a path fits a described one, whatever stands where it names a parameter.
fn fits(described: &str, path: &str) -> bool {
    let (described, path): (Vec<&str>, Vec<&str>) =
        (described.split('/').collect(), path.split('/').collect());
    described.len() == path.len()
        && described
            .iter()
            .zip(path)
            .all(|(described, part)| *described == part || (described.starts_with('{') && !part.is_empty()))
}

/// What is wrong with a request, if this operation is meant by it.
fn problems(schemas: &Value, operation: &str, seen: &Seen) -> Vec<String> {
    let described = &schemas["operations"][operation];
    let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
    let mut problems = Vec::new();
    if described["method"] != seen.method.as_str() || !fits(described["path"].as_str().unwrap(), path) {
        problems.push(format!("{} is not {} {}", seen.line(), described["method"], described["path"]));
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let name = parameter.split('=').next().unwrap();
        let mut known = described["parameters"].as_array().unwrap().iter();
        if !known.any(|known| known["name"] == name && known["in"] == "query") {
            problems.push(format!("no parameter {name}"));
        }
    }
    if described["request"].is_null() {
        if !seen.body.is_empty() {
            problems.push(format!("a body where none is described: {}", seen.body));
        }
        return problems;
    }
    let mut schema = described["request"]["schema"].clone();
    schema["$defs"] = schemas["$defs"].clone();
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    let validator = jsonschema::options().build(&schema).unwrap();
    problems.extend(validator.iter_errors(&body).map(|error| error.to_string()));
    let known = schema["properties"].as_object().unwrap();
    problems.extend(body.as_object().unwrap().keys().filter(|name| !known.contains_key(*name)).cloned());
    problems
}

#[tokio::test]
async fn every_request_about_runners_is_one_that_github_describes() {
    let Some(corpus) = folder("WFENGINE_CORPUS") else { return };
    let schemas = json_of(&corpus.join("json-schemas.json"));
    let answers = examples(&corpus);
    let mut checked = 0;
    for (scope, suffix, by) in [("octo-org/octo-repo", "repo", "from-repo"), ("octo-org", "org", "from-org")]
    {
        let scope = RunnerScope::parse(scope).unwrap();
        let operation = |name: &str| format!("actions/{name}-for-{suffix}");
        let listing = operation("list-self-hosted-runners");
        let operations = [
            listing.clone(),
            listing,
            operation("get-self-hosted-runner"),
            operation("generate-runner-jitconfig"),
            operation("create-registration-token"),
            operation("create-remove-token"),
            format!("actions/delete-self-hosted-runner-{by}"),
        ];
        let replies = operations.iter().map(|operation| match answers.get(operation) {
            Some(examples) => Reply::json(&examples[0].to_string()),
            None => Reply::new(204, ""),
        });
        let fake = Fake::in_turn(replies.collect()).await;
        let client = fake.client();
        let listed = client.runners(&scope).await.unwrap();
        assert_eq!((listed.unreadable, listed.items.is_empty()), (0, false));
        let name = &listed.items[0].name;
        assert!(client.runner_named(&scope, name).await.unwrap().is_some(), "{name}");
        assert!(client.runner(&scope, listed.items[0].id).await.unwrap().is_some());
        let wanted = JitWanted {
            name: "wfengine-build-0123abcd".to_owned(),
            runner_group_id: 1,
            labels: (0..100).map(|number| format!("label {number}")).collect(),
            work_folder: Some("_work".to_owned()),
        };
        let config = client.jit_config(&scope, &wanted).await.unwrap();
        assert!(!config.encoded.expose().is_empty());
        // the text of the example is made up, and is not taken for a configuration
        assert!(JitFiles::decode(&config.encoded).is_err());
        for token in [client.registration_token(&scope).await, client.remove_token(&scope).await] {
            assert!(token.unwrap().expires_s().is_some());
        }
        assert_eq!(client.delete_runner(&scope, 5).await.unwrap(), RunnerDeleted::Deleted);
        let seen = fake.seen();
        assert_eq!(seen.len(), operations.len());
        for (seen, operation) in seen.iter().zip(&operations) {
            let problems = problems(&schemas, operation, seen);
            assert!(problems.is_empty(), "{operation}: {problems:?}");
            checked += 1;
        }
        // the check finds what is not described
        let odd = Seen {
            path: format!("{}?colour=red", seen[3].path),
            body: r#"{"name": 1}"#.to_owned(),
            ..seen[3].clone()
        };
        assert!(problems(&schemas, &operations[3], &odd).len() >= 4);
        assert!(!problems(&schemas, &operations[2], &seen[3]).is_empty());
    }
    assert_eq!(checked, 14);
}
