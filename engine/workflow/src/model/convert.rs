//! From a tree that fits the schema to the model, and the checks that look at single keys but are no matter of types.
//!
//! The schema has parsed and accepted every expression already, so a template that does not parse here cannot occur; it would be
//! kept as plain text.

use super::{
    Concurrency, Job, RunDefaults, Step, StepAction, Strategy, Word, Workflow, WorkflowCall, triggers,
};
use crate::{
    diagnostic::Diagnostics,
    expression::Value,
    limits,
    reader::{Document, Node, NodeKind},
    template::{Condition, Template, Tree},
};

pub(super) fn workflow(document: &Document, file: &str, diagnostics: &mut Diagnostics<'_>) -> Workflow {
    let root = &document.root;
    let on = root.entry("on").map(|on| triggers::convert(on, diagnostics)).unwrap_or_default();
    Workflow {
        file: file.to_owned(),
        name: root.entry("name").map(word).filter(|name| !name.text.is_empty()),
        description: root.entry("description").map(word),
        run_name: root.entry("run-name").map(template),
        triggers: on.triggers,
        dispatch_inputs: on.dispatch_inputs,
        call_inputs: on.call_inputs,
        env: root.entry("env").map(tree),
        defaults: defaults(root),
        concurrency: concurrency(root),
        permissions: root.entry("permissions").cloned(),
        labels: root.entry("labels").map(words).unwrap_or_default(),
        jobs: root
            .entry("jobs")
            .map(Node::entries)
            .unwrap_or_default()
            .iter()
            .map(|(id, node)| job(id, node, diagnostics))
            .collect(),
        comments: document.comments.clone(),
        notes: Vec::new(),
        hints: Vec::new(),
    }
}

/// A scalar as a word.
pub(super) fn word(node: &Node) -> Word {
    let text = match template(node).as_literal() {
        Some(value) => value.to_text(),
        None => node.text().unwrap_or_default(),
    };
    Word { at: node.at, text }
}

/// A scalar or a sequence of scalars as words.
pub(super) fn words(node: &Node) -> Vec<Word> {
    match &node.kind {
        NodeKind::Sequence(items) => items.iter().map(word).collect(),
        NodeKind::Null | NodeKind::Mapping(_) => Vec::new(),
        _ => vec![word(node)],
    }
}

pub(super) fn template(node: &Node) -> Template {
    match &node.kind {
        NodeKind::Text(text) => {
            Template::parse(node.at, text).unwrap_or_else(|_| Template::literal(node.at, text.as_str()))
        }
        _ => Template::literal(node.at, node.scalar().unwrap_or_default()),
    }
}

fn tree(node: &Node) -> Tree {
    match &node.kind {
        NodeKind::Sequence(items) => Tree::Sequence(node.at, items.iter().map(tree).collect()),
        NodeKind::Mapping(entries) => {
            Tree::Mapping(node.at, entries.iter().map(|(key, value)| (template(key), tree(value))).collect())
        }
        _ => Tree::Scalar(template(node)),
    }
}

/// `env` of a job or step has to be written out: GitHub takes no expression for the whole of it.
fn env(parent: &Node, diagnostics: &mut Diagnostics<'_>) -> Option<Tree> {
    let node = parent.entry("env")?;
    must_be_mapping("env", node, diagnostics);
    Some(tree(node))
}

fn must_be_mapping(key: &str, node: &Node, diagnostics: &mut Diagnostics<'_>) {
    if !matches!(node.kind, NodeKind::Mapping(_)) {
        diagnostics.add(node.at, format!("'{key}' cannot be one expression"), "a mapping");
    }
}

fn defaults(parent: &Node) -> RunDefaults {
    let run = parent.entry("defaults").and_then(|defaults| defaults.entry("run"));
    let part = |key| run.and_then(|run| run.entry(key)).map(template);
    RunDefaults { shell: part("shell"), working_directory: part("working-directory") }
}

fn concurrency(parent: &Node) -> Option<Concurrency> {
    let node = parent.entry("concurrency")?;
    let part = |key| node.entry(key).map(template);
    Some(Concurrency {
        at: node.at,
        group: part("group").unwrap_or_else(|| template(node)),
        cancel_in_progress: part("cancel-in-progress"),
        queue: part("queue"),
    })
}

fn condition(parent: &Node) -> Option<Condition> {
    let node = parent.entry("if")?;
    Some(match &node.kind {
        NodeKind::Text(text) => {
            Condition::parse(node.at, text).unwrap_or_else(|_| Condition::literal(node.at, Value::text(text)))
        }
        // an empty `if` is no condition
        NodeKind::Null => Condition::literal(node.at, Value::Bool(true)),
        _ => Condition::literal(node.at, node.scalar().unwrap_or_default()),
    })
}

fn job(id: &Node, node: &Node, diagnostics: &mut Diagnostics<'_>) -> Job {
    check_id(&word(id), "job", diagnostics);
    let part = |key| node.entry(key).map(template);
    let subtree = |key| node.entry(key).map(tree);
    if let Some(services) = node.entry("services") {
        must_be_mapping("services", services, diagnostics);
        for (_, service) in services.entries() {
            check_image(service, diagnostics);
        }
    }
    if let Some(container) = node.entry("container") {
        check_image(container, diagnostics);
    }
    let strategy = node.entry("strategy").map(|node| Strategy {
        at: node.at,
        matrix: node.entry("matrix").map(tree),
        fail_fast: node.entry("fail-fast").map(template),
        max_parallel: node.entry("max-parallel").map(template),
    });
    if let Some(matrix) = node.entry("strategy").and_then(|strategy| strategy.entry("matrix")) {
        check_matrix(matrix, diagnostics);
    }
    Job {
        at: id.at,
        id: id.text().unwrap_or_default(),
        name: part("name"),
        needs: node.entry("needs").map(words).unwrap_or_default(),
        condition: condition(node),
        runs_on: subtree("runs-on"),
        strategy,
        timeout_minutes: part("timeout-minutes"),
        cancel_timeout_minutes: part("cancel-timeout-minutes"),
        continue_on_error: part("continue-on-error"),
        env: env(node, diagnostics),
        defaults: defaults(node),
        outputs: node
            .entry("outputs")
            .map(Node::entries)
            .unwrap_or_default()
            .iter()
            .map(|(name, value)| (word(name), template(value)))
            .collect(),
        steps: steps(node.entry("steps"), diagnostics),
        concurrency: concurrency(node),
        // an empty container is none
        container: node.entry("container").filter(|node| node.text().as_deref() != Some("")).map(tree),
        services: subtree("services"),
        environment: subtree("environment"),
        permissions: node.entry("permissions").cloned(),
        snapshot: subtree("snapshot"),
        call: node.entry("uses").map(|uses| WorkflowCall {
            uses: word(uses),
            with: subtree("with"),
            secrets: subtree("secrets"),
        }),
        labels: node.entry("labels").map(words).unwrap_or_default(),
    }
}

fn steps(node: Option<&Node>, diagnostics: &mut Diagnostics<'_>) -> Vec<Step> {
    node.map(Node::items).unwrap_or_default().iter().map(|node| step(node, diagnostics)).collect()
}

fn step(node: &Node, diagnostics: &mut Diagnostics<'_>) -> Step {
    let part = |key| node.entry(key).map(template);
    let key_at = |name: &str| {
        node.entries()
            .iter()
            .find(|(key, _)| key.text().as_deref() == Some(name))
            .map_or(node.at, |(key, _)| key.at)
    };
    let id = node.entry("id").map(word);
    if let Some(id) = &id {
        check_id(id, "step", diagnostics);
    }
    let control = |name: &str| {
        let value = node.entry(name)?;
        Some(StepAction::Control {
            key: Word { at: key_at(name), text: name.to_owned() },
            value: tree(value),
        })
    };
    let action = if let Some(script) = node.entry("run") {
        StepAction::Run {
            script: template(script),
            shell: part("shell"),
            working_directory: part("working-directory"),
        }
    } else if let Some(action) = node.entry("uses") {
        let action = word(action);
        check_action(&action, diagnostics);
        StepAction::Uses { action, with: node.entry("with").map(tree) }
    } else if let Some(inner) = node.entry("parallel") {
        StepAction::Parallel { at: key_at("parallel"), steps: steps(Some(inner), diagnostics) }
    } else {
        ["wait", "wait-all", "cancel"].into_iter().find_map(control).unwrap_or(StepAction::Control {
            key: Word { at: node.at, text: String::new() },
            value: tree(node),
        })
    };
    Step {
        at: node.at,
        id,
        name: part("name"),
        condition: condition(node),
        action,
        env: env(node, diagnostics),
        timeout_minutes: part("timeout-minutes"),
        continue_on_error: part("continue-on-error"),
        background: node.entry("background").map(|background| background.at),
    }
}

fn check_id(id: &Word, of: &str, diagnostics: &mut Diagnostics<'_>) {
    let starts = id.text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let legal = id.text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !starts || !legal || id.text.len() >= limits::ID_LEN_MAX {
        let expected = "a letter or '_', then letters, digits, '_' and '-', fewer than 100 in all";
        diagnostics.add(id.at, format!("the {of} id '{}' is not valid", id.text), expected);
    } else if id.text.starts_with("__") {
        diagnostics.add(
            id.at,
            format!("the {of} id '{}' is reserved", id.text),
            "an id that does not begin with '__'",
        );
    }
}

/// `docker://image`, `./path` or `owner/name[/path]@ref`.
fn check_action(action: &Word, diagnostics: &mut Diagnostics<'_>) {
    let text = action.text.as_str();
    if text.starts_with("docker://") || text.starts_with("./") || text.starts_with(".\\") {
        return;
    }
    let well_formed = text.split_once('@').is_some_and(|(path, git_ref)| {
        let mut parts = path.split(['/', '\\']);
        !git_ref.is_empty()
            && parts.next().is_some_and(|owner| !owner.is_empty())
            && parts.next().is_some_and(|name| !name.is_empty())
    });
    if !well_formed {
        diagnostics.add(
            action.at,
            format!("'{text}' names no action"),
            "'owner/name[/path]@ref', './path' or 'docker://image'",
        );
    }
}

fn check_image(node: &Node, diagnostics: &mut Diagnostics<'_>) {
    if matches!(node.kind, NodeKind::Mapping(_)) && node.entry("image").is_none() {
        diagnostics.add(node.at, "the container has no image", "'image'");
    }
}

/// A vector written out must have values.
fn check_matrix(matrix: &Node, diagnostics: &mut Diagnostics<'_>) {
    for (name, vector) in matrix.entries() {
        let name = name.text().unwrap_or_default();
        if let NodeKind::Sequence(items) = &vector.kind
            && items.is_empty()
            && !matches!(name.as_str(), "include" | "exclude")
        {
            diagnostics.add(
                vector.at,
                format!("the matrix vector '{name}' has no values"),
                "at least one value",
            );
        }
    }
}
