//! Discovery as somebody sees it who types commands: folders of checkouts, a GitHub on the loopback address, nodes that serve.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]
#![allow(unreachable_pub, reason = "modules of a test")]

mod checkout;
#[path = "../schemas/documents.rs"]
mod documents;
#[path = "../house/mod.rs"]
mod house;
mod outside;
#[path = "../../../tests/tests/requirements/mod.rs"]
mod requirements;

use std::collections::{BTreeMap, BTreeSet};

use checkout::{Checkout, Github, PATH, workflow};
use documents::Schemas;
use house::{House, Live, text, until};
use requirements::{Requirement, require};
use serde_json::Value as Json;
use wfengine_tests::standin::{RepositoryOptions, TokenKind};

/// The runs of a house, the oldest first.
fn runs(house: &House) -> Vec<Json> {
    let mut runs = house.json(&["list"]);
    runs.reverse();
    runs
}

/// Waits until so many runs have a status; these are given.
fn until_runs(house: &House, count: usize, status: &str) -> Vec<Json> {
    until(&format!("{count} runs are {status}"), || {
        let mut runs = runs(house);
        runs.retain(|run| text(run, "status") == status);
        Some(runs).filter(|runs| runs.len() == count)
    })
}

#[test]
fn a_folder_of_checkouts_is_watched_and_its_jobs_run_on_the_real_commit() {
    if require(Requirement::Git, "discovery in a folder of checkouts").is_none() {
        return;
    }
    let house = House::new();
    let one = Checkout::new(&house.path("lab/one"));
    let first = one.commit(&[(PATH, &workflow("p2p-only", "push")), ("data.txt", "hello\n")]);
    let lab = house.path("lab").display().to_string();
    let said = house.ask(&["discover", "watch", "--path", &lab, "--interval", "1"]).ends(0);
    assert!(said.out.contains("once `wfengine serve` runs"), "{said:?}");
    let node = house.serve_with(&["--no-lan"]);
    let run = until_runs(&house, 1, "completed").remove(0);
    let log = house.ask(&["logs", text(&run, "id")]).ends(0).out;
    assert!(log.contains("hello") && log.contains(&first), "{log}");
    let second = one.commit(&[("data.txt", "again\n")]);
    let runs = until_runs(&house, 2, "completed");
    let log = house.ask(&["logs", text(&runs[1], "id")]).ends(0).out;
    assert!(log.contains("again") && log.contains(&second), "{log}");
    node.stop().ends(0);
    let node = house.serve_with(&["--no-lan"]);
    one.commit(&[("data.txt", "third\n")]);
    until_runs(&house, 3, "completed");
    // once more, on the commit that it was of
    house.ask(&["rerun", text(&run, "id")]).ends(0);
    let of_first = until_runs(&house, 4, "completed");
    let of_first: Vec<&Json> = of_first.iter().filter(|run| text(run, "sha") == first).collect();
    assert_eq!(of_first.len(), 2);
    for run in of_first {
        let log = house.ask(&["logs", text(run, "id")]).ends(0).out;
        assert!(log.contains("hello") && log.contains(&first), "{log}");
    }
    let stopped = house.ask(&["discover", "watch", "--stop"]).ends(0);
    assert_eq!(stopped.out, "this host looks for no workflows\n");
    node.stop().ends(0);
    house.ask(&["replay", "--verify"]).ends(0);
}

#[test]
fn once_prints_the_documents_block_and_the_documents_fields() {
    if require(Requirement::Git, "discovery in a folder of checkouts").is_none() {
        return;
    }
    let house = House::new();
    Checkout::new(&house.path("lab/one")).commit(&[(PATH, &workflow("p2p-eligible, web-scraping", "push"))]);
    let lab = house.path("lab").display().to_string();
    let dry = house.ask(&["discover", "once", "--path", &lab, "--dry-run"]).ends(0).out;
    let block = "Discovery Results:\n  Workflows discovered: 1\n  Workflows submitted: 0\n\nScheduler Status:\n  Pending tasks: 0\n  Assigned tasks: 0\n  Completed tasks: 0\n  Known peers: 0\n";
    assert!(dry.starts_with(block), "{dry}");
    let found = house.one(&["discover", "once", "--path", &lab]);
    assert_eq!(
        (&found["discovered"], &found["submitted"], &found["taskqueue_drained"]),
        (&1.into(), &1.into(), &0.into())
    );
    let scheduler = found["scheduler"].as_object().unwrap();
    for field in [
        "peer_id",
        "merkle_clock",
        "pending_tasks",
        "assigned_tasks",
        "completed_tasks",
        "queue_size",
        "known_peers",
    ] {
        assert!(scheduler.contains_key(field), "{field}: {found}");
    }
    assert!(found["timestamp"].is_f64());
    let line = &found["report"]["workflows"][0];
    assert_eq!((text(line, "owner"), text(line, "repo"), text(line, "workflow_path")), ("lab", "one", PATH));
    assert_eq!(line["tags"], serde_json::json!(["p2p-eligible", "web-scraping"]));
    let listed = house.json(&["discover", "list"]);
    assert_eq!(text(&listed[0], "repository"), "lab/one");
    let mut schemas = Schemas::new(&house);
    schemas.hold("discover once", &[found]);
    schemas.hold("discover list", &listed);
    let empty = house.path("empty");
    std::fs::create_dir_all(empty.join("bare/.git")).unwrap();
    let none = house.ask(&["discover", "once", "--path", &empty.display().to_string()]).ends(0);
    assert!(none.out.contains("No workflow there is tagged for peers: empty/bare."), "{none:?}");
    let said = format!("{}{}", none.out, none.err);
    let why = said.lines().find(|line| line.trim_start().starts_with("empty/bare: "));
    assert!(why.is_some_and(|why| why.contains("not a git repository")), "{none:?}");
}

#[test]
fn wrong_wishes_and_a_missing_token_say_what_to_do_in_one_line() {
    let house = House::new();
    house
        .ask(&["discover", "once", "--path", "nowhere"])
        .ends(2)
        .complains(&["--path", "there is no such folder"]);
    house.ask(&["discover", "once", "--owner", "a/b"]).ends(2).complains(&["no owner"]);
    house.ask(&["discover", "once", "--repo", "a"]).ends(2).complains(&["OWNER/NAME"]);
    house.ask(&["discover", "once", "--policy", "never"]).ends(2).complains(&["on-discovery"]);
    house
        .ask(&["discover", "watch", "--doubles", "x", "--owner", "a"])
        .ends(2)
        .complains(&["leave, cancel, disable"]);
    let mut command = house.command(&["discover", "once"]);
    command.env_remove("GITHUB_TOKEN").env_remove("GH_TOKEN").env("PATH", "/nonexistent");
    let said =
        Live::start(command).end().ends(3).complains(&["no GitHub token", "GITHUB_TOKEN", "gh auth login"]);
    assert_eq!(said.err.lines().filter(|line| line.starts_with("error")).count(), 1, "{said:?}");
}

/// Two houses of one cluster, both serving; the second is without a way to GitHub.
fn two_houses(github: &Github) -> (House, Live, House, Live) {
    let (a, b) = (House::new(), House::new());
    let serving = github.serve(&a);
    let invite = a.one(&["peer", "invite"]);
    let line = text(&invite, "join_line").to_owned();
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let mut arguments: Vec<&str> = words;
    arguments.extend(["--name", "b", "--listen", "127.0.0.1:0", "--no-lan"]);
    let mut joined = b.begin(&arguments);
    joined.wait_for("serves on UDP");
    (a, serving, b, joined)
}

#[test]
fn a_pushed_workflow_is_run_by_a_peer_without_a_token_and_shown_beside_its_commit() {
    if require(Requirement::Git, "discovery against the stand-in for GitHub").is_none() {
        return;
    }
    let github = Github::with_repository("octo/one", &[("data.txt", "hello\n"), ("README.md", "x")]);
    let (a, serving, b, joined) = two_houses(&github);
    // so that the other runs it
    a.ask(&["pause"]).ends(0);
    a.ask(&["discover", "watch", "--owner", "octo", "--interval", "1", "--report", "statuses"]).ends(0);
    until("the repository was looked at", || {
        (!a.json(&["replay", "--kind", "RepositoryScanned"]).is_empty()).then_some(())
    });
    let sha = github.push("octo/one", &[(PATH, &workflow("p2p-eligible", "[push, workflow_dispatch]"))]);
    let run = until_runs(&a, 1, "completed").remove(0);
    assert_eq!(run["jobs"][0]["peer"], "b", "{run}");
    let log = b.ask(&["logs", text(&run, "id")]).ends(0).out;
    assert!(log.contains("hello") && log.contains(&sha), "{log}");
    let last = github.until("the commit has a status", |standin| {
        let statuses = standin.statuses();
        statuses.into_iter().rfind(|status| status.state == "success")
    });
    assert_eq!((last.sha.as_str(), last.context.as_str()), (sha.as_str(), "wfengine / show"));
    let again = github.push("octo/one", &[(PATH, &format!("{}# more\n", workflow("p2p-eligible", "push")))]);
    let runs = until_runs(&a, 2, "completed");
    assert!(b.ask(&["logs", text(&runs[1], "id")]).ends(0).out.contains(&again));
    assert!(github.standin.dispatches().is_empty());
    serving.stop().ends(0);
    joined.stop().ends(0);
    for house in [&a, &b] {
        house.ask(&["replay", "--verify"]).ends(0);
    }
    github.is_content();
}

#[test]
fn what_no_peer_takes_is_dispatched_once_and_followed_and_what_is_for_peers_alone_never() {
    if require(Requirement::Git, "discovery against the stand-in for GitHub").is_none() {
        return;
    }
    let on = "[push, workflow_dispatch]";
    let github = Github::with_repository(
        "octo/one",
        &[
            (PATH, &workflow("p2p-eligible", on)),
            (".github/workflows/only.yml", &workflow("p2p-only", on)),
            (".wfengine/workflows/here.yml", &workflow("p2p-eligible", on)),
            ("data.txt", "x"),
        ],
    );
    let house = House::new();
    house.ask(&["pause"]).ends(0);
    let watch = ["discover", "watch", "--repo", "octo/one", "--interval", "1", "--fallback-after", "1s"];
    house.ask(&watch).ends(0);
    let serving = github.serve(&house);
    let dispatched = github.until("it is dispatched", |standin| standin.dispatches().first().cloned());
    assert_eq!((dispatched.workflow.as_str(), dispatched.reference.as_str()), (PATH, "refs/heads/main"));
    github.standin.start_run(dispatched.run);
    let run = until_runs(&house, 1, "in_progress").remove(0);
    assert!(text(&run, "reason").contains("on GitHub: http"), "{run}");
    github.standin.finish_run(dispatched.run, "failure");
    let failed = until_runs(&house, 1, "failed").remove(0);
    assert_eq!(text(&failed, "id"), text(&run, "id"));
    // a restart and a few more waits change nothing
    serving.stop().ends(0);
    let since = github.standin.requests().len();
    let serving = github.serve(&house);
    house.ask(&["discover", "once"]).ends(3).complains(&["token"]);
    until("looked at again, a few times since the restart", || {
        let requests = github.standin.requests_since(since);
        (requests.iter().filter(|request| request.path.contains("/git/trees/")).count() > 4).then_some(())
    });
    serving.stop().ends(0);
    assert_eq!(github.standin.dispatches().len(), 1);
    let open: Vec<Json> = runs(&house).into_iter().filter(|run| text(run, "status") == "pending").collect();
    assert_eq!(open.len(), 2, "for peers alone, they wait");
    house.ask(&["replay", "--verify"]).ends(0);
    github.is_content();
}

#[test]
fn a_webhook_hastens_what_polling_would_find_and_a_forged_one_does_nothing() {
    if require(Requirement::Git, "discovery against the stand-in for GitHub").is_none() {
        return;
    }
    let github = Github::with_repository("octo/one", &[("data.txt", "x")]);
    github.standin.add_repository("octo/a", &RepositoryOptions::default());
    github.push("octo/a", &[("data.txt", "x")]);
    let house = House::new();
    let secret = house.path("secret");
    std::fs::write(&secret, "a secret\n").unwrap();
    let secret = secret.display().to_string();
    let watch = [
        "discover",
        "watch",
        "--owner",
        "octo",
        "--interval",
        "3600",
        "--webhook",
        "127.0.0.1:0",
        "--webhook-secret-file",
        &secret,
    ];
    house.ask(&watch).ends(0);
    let mut serving = github.serve(&house);
    let line = serving.wait_for("webhooks are heard at ");
    let address = line.split("heard at ").nth(1).unwrap().trim().split('/').next().unwrap().to_owned();
    let url = format!("http://{address}/webhooks/github");
    for name in ["octo/a", "octo/one"] {
        github.standin.add_hook(name, &url, Some("a secret"), &["push"]);
    }
    until("the repositories were looked at", || {
        (house.json(&["replay", "--kind", "RepositoryScanned"]).len() == 2).then_some(())
    });
    let since = github.standin.requests().len();
    github.standin.forge("another secret", 1);
    github.push("octo/a", &[("data.txt", "y")]);
    let forged = github.until("the forged one was answered", |standin| standin.delivered().first().cloned());
    assert!(forged.status.is_some_and(|status| status >= 400), "{forged:?}");
    github.push("octo/one", &[(PATH, &workflow("p2p-only", "push"))]);
    until_runs(&house, 1, "completed");
    // had the forged one been believed, its repository would have been looked at first
    let looked_at: BTreeSet<String> = lookers(&github, since).into_keys().collect();
    assert_eq!(looked_at, BTreeSet::from(["one".to_owned()]));
    serving.stop().ends(0);
    github.is_content();
}

#[test]
fn late_doubled_reordered_and_lost_webhooks_start_each_push_once() {
    if require(Requirement::Git, "discovery against the stand-in for GitHub").is_none() {
        return;
    }
    let github = Github::with_repository("octo/one", &[("data.txt", "x")]);
    let house = House::new();
    let secret = house.path("secret");
    std::fs::write(&secret, "a secret").unwrap();
    let secret = secret.display().to_string();
    let watch = ["discover", "watch", "--owner", "octo", "--interval", "2", "--policy", "on-trigger"];
    let hook = ["--webhook", "127.0.0.1:0", "--webhook-secret-file", &secret];
    house.ask(&[watch.as_slice(), &hook].concat()).ends(0);
    let mut serving = github.serve(&house);
    let line = serving.wait_for("webhooks are heard at ");
    let address = line.split("heard at ").nth(1).unwrap().trim().split('/').next().unwrap().to_owned();
    github.standin.add_hook(
        "octo/one",
        &format!("http://{address}/webhooks/github"),
        Some("a secret"),
        &["push"],
    );
    until("the repository was looked at", || {
        (!house.json(&["replay", "--kind", "RepositoryScanned"]).is_empty()).then_some(())
    });
    let tagged = workflow("p2p-only", "push");
    // lost: polling finds it
    github.standin.lose(1);
    let mut commits = vec![github.push("octo/one", &[(PATH, &tagged)])];
    until("the workflow was found", || (!house.json(&["discover", "list"]).is_empty()).then_some(()));
    // held back, then delivered in the wrong order, each of them once more
    github.standin.hold();
    for content in ["1", "2", "3"] {
        commits.push(github.push("octo/one", &[("data.txt", content)]));
        until("the push was seen by polling", || {
            runs(&house)
                .iter()
                .any(|run| Some(text(run, "sha")) == commits.last().map(String::as_str))
                .then_some(())
        });
    }
    let ids: Vec<String> = github.standin.held().iter().map(|delivery| delivery.id.clone()).collect();
    github.standin.release_reversed();
    let arrived = |count: usize| {
        move |standin: &wfengine_tests::standin::Standin| (standin.delivered().len() >= count).then_some(())
    };
    github.until("all were delivered", arrived(ids.len()));
    for id in &ids {
        github.standin.duplicate(id);
    }
    github.until("all were delivered again", arrived(2 * ids.len()));
    commits.push(github.push("octo/one", &[("data.txt", "4")]));
    until("the last push ran", || {
        runs(&house)
            .iter()
            .any(|run| Some(text(run, "sha")) == commits.last().map(String::as_str))
            .then_some(())
    });
    let mut started: Vec<String> = runs(&house).iter().map(|run| text(run, "sha").to_owned()).collect();
    started.sort();
    // the next push may overtake the look that found the workflow; what counts then is where the branch stands
    let mut pushed = commits.clone();
    pushed.sort();
    started.dedup();
    assert!(
        started.len() >= pushed.len() - 1 && started.iter().all(|sha| pushed.contains(sha)),
        "{started:?} {pushed:?}"
    );
    assert_eq!(runs(&house).len(), started.len(), "one run for each");
    serving.stop().ends(0);
    github.is_content();
}

#[test]
fn a_workflow_is_dispatched_by_hand_with_its_inputs() {
    if require(Requirement::Git, "discovery against the stand-in for GitHub").is_none() {
        return;
    }
    let on = "{workflow_dispatch: {inputs: {module: {required: true}}}}";
    let text_of = format!(
        "name: Generate\nenv: {{WORKFLOW_TAGS: 'p2p-only,code-generation'}}\non: {on}\njobs:\n  g:\n    runs-on: ubuntu-latest\n    steps:\n    - run: echo \"module=${{{{ inputs.module }}}} event=${{{{ github.event.inputs.module }}}}\"\n"
    );
    let github = Github::with_repository("octo/one", &[(PATH, &text_of)]);
    let house = House::new();
    let ask = |arguments: &[&str]| Live::start(github.command(&house, arguments)).end();
    let once = ask(&["discover", "once", "--owner", "octo"]).ends(0).out;
    assert!(once.contains("needs input: module"), "{once}");
    ask(&["discover", "dispatch", "octo/one", "nothing"]).ends(3).complains(&[PATH]);
    ask(&["discover", "dispatch", "octo/one", "show.yml"]).ends(3).complains(&["needs input: module"]);
    ask(&["discover", "dispatch", "octo/one", "show.yml", "--ref", "nope", "--input", "module=a"])
        .ends(3)
        .complains(&["no branch or tag nope"]);
    let run = ask(&["--json", "discover", "dispatch", "octo/one", "show.yml", "--input", "module=a"])
        .ends(0)
        .json()
        .remove(0);
    let id = text(&run["run"], "id").to_owned();
    Schemas::new(&house).hold("discover dispatch", &[run]);
    let node = house.serve_with(&["--no-lan"]);
    house.until_status(&id, "completed");
    assert!(house.ask(&["logs", &id]).ends(0).out.contains("module=a event=a"));
    node.stop().ends(0);
    github.is_content();
}

#[test]
fn monitor_says_what_changed_and_nothing_twice() {
    if require(Requirement::Git, "discovery against the stand-in for GitHub").is_none() {
        return;
    }
    let github = Github::with_repository("octo/one", &[("data.txt", "x")]);
    let house = House::new();
    let mut command = github.command(&house, &["discover", "monitor", "--owner", "octo", "--interval", "1"]);
    command.env_remove("WFENGINE_LOG");
    let mut monitor = Live::start(command);
    monitor.wait_for("Discovery: 0 workflows in 1 repositories, 0 submitted");
    let lists = || {
        github
            .standin
            .requests()
            .iter()
            .filter(|request| request.path.contains("/users/") || request.path.contains("/user/repos"))
            .count()
    };
    let seen = lists();
    until("a few rounds later", || (lists() >= seen + 3).then_some(()));
    github.push("octo/one", &[(PATH, &workflow("p2p-only", "push"))]);
    monitor.wait_for("submitted octo/one/.github/workflows/show.yml (p2p-only)");
    let said = monitor.stop();
    assert_eq!(said.out.matches("Discovery: 0 workflows").count(), 1, "{said:?}");
    github.is_content();
}

/// Who has looked at which repository since a request.
fn lookers(github: &Github, since: usize) -> BTreeMap<String, BTreeSet<String>> {
    let mut lookers = BTreeMap::<String, BTreeSet<String>>::new();
    let requests = github.standin.requests_since(since);
    for request in requests.iter().filter(|request| request.path.contains("/git/trees/")) {
        let repository = request.path.split('/').nth(3).unwrap().to_owned();
        lookers.entry(repository).or_default().insert(request.identity.clone());
    }
    lookers
}

#[test]
fn two_members_share_the_repositories_and_one_takes_over_when_the_other_is_gone() {
    if require(Requirement::Git, "discovery against the stand-in for GitHub").is_none() {
        return;
    }
    // so many that one member has none of them once in thousands of runs
    let names: Vec<String> = (0..14).map(|n| format!("octo/r{n}")).collect();
    let mut github = Github::with_repository(&names[0], &[("data.txt", "x")]);
    for name in &names[1..] {
        github.standin.add_repository(name, &RepositoryOptions::default());
        github.push(name, &[("data.txt", "x")]);
    }
    github.standin.add_user("ann");
    let (a, b) = (House::new(), House::new());
    let watch = ["discover", "watch", "--owner", "octo", "--interval", "1"];
    a.ask(&watch).ends(0);
    let serving = github.serve(&a);
    let line = text(&a.one(&["peer", "invite"]), "join_line").to_owned();
    let words: Vec<&str> = line.split_whitespace().skip(1).filter(|word| *word != "--serve").collect();
    b.ask(&[words.as_slice(), &["--name", "b"]].concat()).ends(0);
    b.ask(&watch).ends(0);
    github.token = github.standin.token(&TokenKind::classic("ann"));
    let joined = github.serve(&b);
    let rounds = |since: usize, count: usize| {
        until("a few rounds", || {
            (github.standin.requests_since(since).len() > count * names.len()).then_some(())
        });
        lookers(&github, since)
    };
    until("each repository is one member's, and both have some", || {
        let lookers = rounds(github.standin.requests().len(), 4);
        let members: BTreeSet<&String> = lookers.values().flatten().collect();
        let is_shared = lookers.len() == names.len() && lookers.values().all(|who| who.len() == 1);
        (is_shared && members.len() == 2).then_some(())
    });
    b.ask(&[watch.as_slice(), &["--policy", "manual"]].concat()).ends(0);
    until("who starts nothing leaves every repository to the other", || {
        let lookers = rounds(github.standin.requests().len(), 4);
        let everybody: BTreeSet<&String> = lookers.values().flatten().collect();
        let looks_at_all = |who: &&String| lookers.values().all(|lookers| lookers.contains(*who));
        (lookers.len() == names.len() && everybody.into_iter().any(|who| looks_at_all(&who))).then_some(())
    });
    drop(joined);
    let sha = github.push(&names[3], &[(PATH, &workflow("p2p-only", "push"))]);
    let run = until_runs(&a, 1, "completed").remove(0);
    assert!(a.ask(&["logs", text(&run, "id")]).ends(0).out.contains(&sha));
    until("the one that is left looks at all of them", || {
        (rounds(github.standin.requests().len(), 2).len() == names.len()).then_some(())
    });
    serving.stop().ends(0);
    github.is_content();
}
