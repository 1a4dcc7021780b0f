//! Git's own data: trees, blobs, commits, branches, references.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{contents::base64_lines, shapes};
use crate::standin::{
    answer::{Answer, Outcome},
    call::Call,
    git::object::{Kind, ObjectId},
    repositories::Repository,
    request::encoded,
    state::State,
    webhooks::payload::Moved,
};

/// GitHub cuts a recursive tree after so many entries, and a tree that a test wants cut keeps half of them.
const TREE_ENTRIES_MAX: usize = 100_000;

pub(super) fn tree(state: &mut State, call: &Call<'_>) -> Outcome {
    let documentation = "/git/trees#get-a-tree";
    let repository = call.repository(state)?;
    if repository.git.is_empty() {
        return Err(Answer::error(409, "Git Repository is empty.", documentation));
    }
    let name = call.parameter("tree_sha");
    let not_found = || Answer::error(404, "Not Found", documentation);
    let (name, path) = name.split_once(':').unwrap_or((name, ""));
    let named = name.parse().ok().filter(|id| repository.git.owns(*id));
    let is_tree = |id: &ObjectId| state.objects.object(*id).is_some_and(|object| object.kind == Kind::Tree);
    let root = match named.filter(is_tree) {
        Some(id) => id,
        None => {
            let commit = repository.git.resolve(&state.objects, name).ok_or_else(not_found)?;
            state.objects.commit(commit).ok_or_else(not_found)?.tree
        }
    };
    let id =
        state.objects.entry_at(root, path).map(|entry| entry.id).filter(is_tree).ok_or_else(not_found)?;
    let is_recursive = call.request.query("recursive").is_some();
    let mut entries = match is_recursive {
        true => state.objects.walk(id),
        false => state.objects.tree(id).into_iter().map(|entry| (entry.name.clone(), entry)).collect(),
    };
    let kept = match repository.cuts_trees && is_recursive {
        true => entries.len() / 2,
        false => entries.len().min(TREE_ENTRIES_MAX),
    };
    let is_truncated = kept < entries.len();
    entries.truncate(kept);
    let url = format!("{}/repos/{}/git", call.base, state.full_name(repository));
    let shown: Vec<Value> = entries
        .iter()
        .map(|(path, entry)| {
            let kind = entry.mode.kind();
            let mut shown = json!({
                "path": path, "mode": format!("{:0>6}", entry.mode.digits()), "type": kind.name(),
                "sha": entry.id.to_string(),
            });
            match kind {
                Kind::Blob => {
                    shown["size"] = state.objects.blob_length(entry.id).into();
                    shown["url"] = format!("{url}/blobs/{}", entry.id).into();
                }
                Kind::Tree => shown["url"] = format!("{url}/trees/{}", entry.id).into(),
                Kind::Commit | Kind::Tag => {}
            }
            shown
        })
        .collect();
    let body = json!({
        "sha": id.to_string(), "url": format!("{url}/trees/{id}"), "tree": shown, "truncated": is_truncated,
    });
    Ok(Answer::json(200, body))
}

pub(super) fn blob(state: &mut State, call: &Call<'_>) -> Outcome {
    let documentation = "/git/blobs#get-a-blob";
    let repository = call.repository(state)?;
    let wrong = || {
        Answer::error(
            422,
            "The sha parameter must be exactly 40 characters and contain only [0-9a-f].",
            documentation,
        )
    };
    let id: ObjectId = call.parameter("file_sha").parse().map_err(|_| wrong())?;
    let object = state.objects.object(id).filter(|object| object.kind == Kind::Blob);
    let object = object.filter(|_| repository.git.owns(id));
    let object = object.ok_or_else(|| Answer::error(404, "Not Found", documentation))?;
    if call.request.accept().contains("raw") {
        let media_type = "application/vnd.github.raw+json; charset=utf-8";
        return Ok(Answer::bytes(200, media_type, object.content.clone()));
    }
    let body = json!({
        "sha": id.to_string(), "node_id": format!("B_{id}"), "size": object.content.len(),
        "url": format!("{}/repos/{}/git/blobs/{id}", call.base, state.full_name(repository)),
        "content": base64_lines(&object.content), "encoding": "base64",
    });
    Ok(Answer::json(200, body))
}

pub(super) fn branch(state: &mut State, call: &Call<'_>) -> Outcome {
    let repository = call.repository(state)?;
    let name = call.parameter("branch");
    let documentation = "/branches/branches#get-a-branch";
    let not_found = || Answer::error(404, "Branch not found", documentation);
    let id = repository.git.branch(name).ok_or_else(not_found)?;
    let commit = state.objects.commit(id).ok_or_else(not_found)?;
    let full_name = state.full_name(repository);
    let url = format!("{}/repos/{full_name}/branches/{}", call.base, encoded(name));
    let page = format!("{}/{full_name}/tree/{}", shapes::web(&call.base), encoded(name));
    let body = json!({
        "name": name,
        "commit": shapes::commit(state, &call.base, repository, id, &commit),
        "_links": { "self": url, "html": page },
        "protected": false,
        "protection": {
            "enabled": false,
            "required_status_checks": { "enforcement_level": "off", "contexts": [], "checks": [] },
        },
        "protection_url": format!("{url}/protection"),
    });
    Ok(Answer::json(200, body))
}

pub(super) fn commit(state: &mut State, call: &Call<'_>) -> Outcome {
    let documentation = "/commits/commits#get-a-commit";
    let repository = call.repository(state)?;
    if repository.git.is_empty() {
        return Err(Answer::error(409, "Git Repository is empty.", documentation));
    }
    let name = call.parameter("ref");
    let missing = || Answer::error(422, &format!("No commit found for SHA: {name}"), documentation);
    let id = repository.git.resolve(&state.objects, name).ok_or_else(missing)?;
    if call.request.accept().contains("vnd.github.sha") {
        return Ok(Answer::bytes(200, "application/vnd.github.sha; charset=utf-8", id.to_string()));
    }
    let commit = state.objects.commit(id).ok_or_else(missing)?;
    Ok(Answer::json(200, shapes::commit(state, &call.base, repository, id, &commit)))
}

/// A reference to be made.
#[derive(Deserialize)]
struct NewReference {
    r#ref: Option<String>,
    sha: Option<String>,
}

fn reference(state: &State, base: &str, repository: &Repository, name: &str, id: ObjectId) -> Value {
    let url = format!("{base}/repos/{}/git", state.full_name(repository));
    let kind = state.objects.object(id).map_or("commit", |object| object.kind.name());
    json!({
        "ref": name,
        "node_id": format!("REF_{}_{}", repository.id, encoded(name)),
        "url": format!("{url}/{name}"),
        "object": { "sha": id.to_string(), "type": kind, "url": format!("{url}/{kind}s/{id}") },
    })
}

pub(super) fn create_reference(state: &mut State, call: &Call<'_>) -> Outcome {
    let documentation = "/git/refs#create-a-reference";
    let refused = |message: &str| Answer::error(422, message, documentation);
    let wanted: NewReference = call.body()?;
    let (Some(name), Some(sha)) = (wanted.r#ref, wanted.sha) else {
        return Err(refused("Invalid request.\n\n\"ref\", \"sha\" weren't supplied."));
    };
    if !name.starts_with("refs/") || name.split('/').count() < 3 || name.ends_with('/') || name.contains("..")
    {
        return Err(refused(
            "Reference name is not valid. It must start with 'refs' and have at least two slashes.",
        ));
    }
    let repository = call.repository(state)?;
    let id = sha.parse::<ObjectId>().ok().filter(|id| repository.git.owns(*id));
    let id = id.ok_or_else(|| refused("Object does not exist"))?;
    if repository.git.reference(&name).is_some() {
        return Err(refused("Reference already exists"));
    }
    call.repository_mut(state)?.git.set_reference(&name, id);
    let repository = call.repository(state)?.id;
    let pusher = call.identity.user().map_or("ghost", |user| state.login(user)).to_owned();
    // to GitHub it is a push like any other
    let after = Some(id);
    state.moved(
        repository,
        &Moved { reference: &name, before: None, after, is_forced: false, pusher: &pusher },
    );
    let repository = call.repository(state)?;
    let body = reference(state, &call.base, repository, &name, id);
    let location = body["url"].as_str().unwrap_or_default().to_owned();
    Ok(Answer::json(201, body).with("location", location))
}

pub(super) fn matching_references(state: &mut State, call: &Call<'_>) -> Outcome {
    let repository = call.repository(state)?;
    let wanted = format!("refs/{}", call.parameter("prefix"));
    let matching = repository.git.references().iter().filter(|(name, _)| name.starts_with(&wanted));
    let shown: Value =
        matching.map(|(name, id)| reference(state, &call.base, repository, name, *id)).collect();
    Ok(Answer::json(200, shown))
}
