//! Checkouts: what is in the workspace afterwards, what is refused, and that nothing outside of it is touched.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    harness::{Bench, steps, stop_at},
    origin::{OneCommit, Origin, git, has_git},
};
use tokio::sync::watch;
use wfengine_executor::{
    AlwaysOpen, Control, Ending, Fetching, JobError, JobEvent, Repository, Sources, SourcesError, StopReason,
    Wanted, run_job,
};
use wfengine_workflow::Conclusion;

const CHECKOUT: &str = "- uses: actions/checkout@v4\n";

#[tokio::test]
async fn the_commit_of_the_run_is_put_into_a_fresh_workspace() {
    if !has_git("the_commit_of_the_run_is_put_into_a_fresh_workspace") {
        return;
    }
    let origin = Origin::new();
    let ran = origin
        .job(
            r#"
- uses: actions/checkout@v4
  id: c
  with:
    token: very-secret
- run: |
    cat file.txt sub/link; ./run.sh
    git rev-parse HEAD; git rev-parse --abbrev-ref HEAD @{upstream}; git remote get-url origin
    git rev-list --count HEAD; git status --porcelain
    ls .git/hooks 2>&1 | head -1; ! grep -r very'-'secret .git
    echo "${{ steps.c.outputs.ref }} ${{ steps.c.outputs.commit }}"
"#,
        )
        .run()
        .await;
    assert_eq!(ran.outcome.conclusion, Conclusion::Success, "{}", ran.notes());
    let printed = ran.printed();
    assert_eq!(printed[..3], ["two", "two", "it runs"]);
    assert_eq!(printed[3], origin.second);
    assert_eq!(printed[4..7], ["main", "origin/main", "https://git.example.org/o/r"]);
    assert_eq!(printed[7], "1", "one commit is the default");
    assert!(printed[8].contains("No such file") || printed[8].contains("cannot access"), "{printed:?}");
    assert_eq!(printed[9..], [format!("refs/heads/main {}", origin.second)]);
    let short = &origin.second[..7];
    let notes = ran.notes();
    for line in [
        &format!("Checking out o/r at {short} (refs/heads/main)"),
        &format!("HEAD is now at {short} the second"),
        "##[group]Run actions/checkout@v4",
        "  token: ***",
    ] {
        assert!(notes.lines().any(|known| known == line), "{line} is not in\n{notes}");
    }
    assert!(!notes.contains("very-secret") && ran.leftovers().is_empty());
}

#[tokio::test]
async fn nothing_of_the_hosts_configuration_takes_part() {
    if !has_git("nothing_of_the_hosts_configuration_takes_part") {
        return;
    }
    let origin = Origin::new();
    let job = origin.job(&format!("{CHECKOUT}- run: cat file.txt; od -c file.txt | head -1; ls .git\n"));
    let home = job.folder.path();
    let witness = home.join("witness");
    for folder in ["hooks", "template/hooks"] {
        fs::create_dir_all(home.join(folder)).unwrap();
        let hook = home.join(folder).join("post-checkout");
        fs::write(&hook, format!("#!/bin/sh\necho hook >> {}\n", witness.display())).unwrap();
        fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let (home_text, witness_text) = (home.display(), witness.display());
    fs::write(
        home.join(".gitconfig"),
        format!(
            "[core]\n autocrlf = true\n hooksPath = {home_text}/hooks\n[init]\n templateDir = {home_text}/template\n[filter \"evil\"]\n smudge = \"echo filter >> {witness_text}; cat\"\n required = true\n"
        ),
    )
    .unwrap();
    let ran = job.run().await;
    assert_eq!(ran.outcome.conclusion, Conclusion::Success, "{}", ran.notes());
    let printed = ran.printed();
    assert!(printed[1].contains("t   w   o  \\n"), "no line end was changed: {printed:?}");
    assert!(!printed.iter().any(|line| line == "hooks"), "{printed:?}");
    assert!(!witness.exists(), "{:?}", fs::read_to_string(&witness));
}

#[tokio::test]
async fn a_source_without_history_is_said_where_history_was_asked_for() {
    if !has_git("a_source_without_history_is_said_where_history_was_asked_for") {
        return;
    }
    let origin = Origin::new();
    for (depth, warned) in [("1", false), ("2", true), ("0", true)] {
        let mut job = origin.job_without_sources(&format!(
            "- uses: actions/checkout@v4\n  with: {{fetch-depth: {depth}}}\n- run: cat file.txt; git log --format=%s\n"
        ));
        job.sources = Some(Arc::new(OneCommit { path: origin.path(), instead: None }));
        let ran = job.run().await;
        assert_eq!(ran.printed(), ["two", "the second"], "{}", ran.notes());
        assert_eq!(ran.notes().contains("only one commit is there (1)"), warned, "{}", ran.notes());
        assert!(ran.notes().contains("It came with the run."));
    }
    let ran = origin
        .job("- uses: actions/checkout@v4\n  with: {fetch-depth: 0}\n- run: git log --format=%s\n")
        .run()
        .await;
    assert_eq!(ran.printed(), ["the second", "the first"]);
    assert!(!ran.notes().contains("fetch-depth` asks"), "{}", ran.notes());
}

#[tokio::test]
async fn each_kind_of_ref_is_checked_out_as_the_action_does() {
    if !has_git("each_kind_of_ref_is_checked_out_as_the_action_does") {
        return;
    }
    let origin = Origin::new();
    let first = origin.first.clone();
    for (with, head, branch, output) in [
        ("ref: other", origin.other.as_str(), "other", "other"),
        ("ref: refs/heads/other", &origin.other, "other", "refs/heads/other"),
        ("ref: v1", &origin.second, "HEAD", "v1"),
        (&*format!("ref: {first}"), &origin.first, "HEAD", ""),
        ("repository: a/b", &origin.second, "main", "refs/heads/main"),
    ] {
        let ran = origin
            .job(&format!(
                "- uses: actions/checkout@v4\n  id: c\n  with: {{{with}}}\n- run: git rev-parse HEAD; git rev-parse --abbrev-ref HEAD; git tag; echo '<${{{{ steps.c.outputs.ref }}}}>'\n"
            ))
            .run()
            .await;
        let mut expected = vec![head.to_owned(), branch.to_owned()];
        expected.extend((with == "ref: v1").then(|| "v1".to_owned()));
        expected.push(format!("<{output}>"));
        assert_eq!(ran.printed(), expected, "{with}: {}", ran.notes());
    }
    let ran = origin.job("- uses: actions/checkout@v4\n  with: {ref: nowhere}\n").run().await;
    assert_eq!(ran.verdicts(), ["failure/failure"]);
    assert!(ran.notes().contains("##[error]o/r has no nowhere"), "{}", ran.notes());
}

#[tokio::test]
async fn several_repositories_stand_beside_each_other() {
    if !has_git("several_repositories_stand_beside_each_other") {
        return;
    }
    let origin = Origin::new();
    let ran = origin
        .job(
            r#"
- uses: actions/checkout@v4
- run: echo mine > file.txt; echo new > untracked
- uses: actions/checkout@v4
  with: {repository: a/b, path: deep/er, ref: other}
- run: cat file.txt untracked deep/er/file.txt; git -C deep/er remote get-url origin
- uses: actions/checkout@v4
  with: {clean: false}
- run: cat file.txt untracked deep/er/file.txt
- uses: actions/checkout@v4
- run: cat file.txt; ls
"#,
        )
        .run()
        .await;
    assert_eq!(ran.outcome.conclusion, Conclusion::Success, "{}", ran.notes());
    let expected = [
        "mine",
        "new",
        "other",
        "https://git.example.org/a/b",
        "two",
        "new",
        "other",
        "two",
        "file.txt",
        "run.sh",
        "sub",
    ];
    assert_eq!(ran.printed(), expected);
    assert!(ran.notes().contains("Removing what is in "));
}

#[tokio::test]
async fn another_repository_takes_the_place_of_the_first_without_asking() {
    if !has_git("another_repository_takes_the_place_of_the_first_without_asking") {
        return;
    }
    let origin = Origin::new();
    let ran = origin
        .job(&format!(
            "{CHECKOUT}- run: chmod -R a-w sub; echo > untracked\n- uses: actions/checkout@v4\n  with: {{repository: a/b, clean: false}}\n- run: ls; git remote get-url origin\n"
        ))
        .run()
        .await;
    let expected = ["file.txt", "run.sh", "sub", "https://git.example.org/a/b"];
    assert_eq!(ran.printed(), expected, "{}", ran.notes());
}

#[tokio::test]
async fn no_link_leads_a_checkout_out_of_the_workspace() {
    if !has_git("no_link_leads_a_checkout_out_of_the_workspace") {
        return;
    }
    let origin = Origin::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("kept"), "").unwrap();
    for (before, path) in [
        ("ln -s OUTSIDE out", "out"),
        ("ln -s OUTSIDE out", "out/sub"),
        ("mkdir a; ln -s OUTSIDE a/b", "a/b/c"),
        ("rmdir \"$GITHUB_WORKSPACE\"; ln -s OUTSIDE \"$GITHUB_WORKSPACE\"", "x"),
    ] {
        let before = before.replace("OUTSIDE", &outside.path().display().to_string());
        let ran = origin
            .job(&format!("- run: {before}\n- uses: actions/checkout@v4\n  with: {{path: {path}}}\n"))
            .run()
            .await;
        assert_eq!(ran.verdicts(), ["success/success", "failure/failure"], "{before}: {}", ran.notes());
        assert!(ran.notes().contains("is a link: a checkout goes into folders only"), "{}", ran.notes());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }
    // a `.git` that leads elsewhere is none: it goes, and what it leads to stays
    let elsewhere = outside.path().join("elsewhere.git");
    git(outside.path(), &["init", "--quiet", "--bare", "elsewhere.git"]);
    let before = fs::read_to_string(elsewhere.join("config")).unwrap();
    let ran = origin
        .job(&format!(
            "- run: 'echo \"gitdir: {}\" > .git'\n- uses: actions/checkout@v4\n  with: {{clean: false}}\n- run: test -d .git\n",
            elsewhere.display()
        ))
        .run()
        .await;
    assert_eq!(ran.outcome.conclusion, Conclusion::Success, "{}", ran.notes());
    assert_eq!(fs::read_to_string(elsewhere.join("config")).unwrap(), before);
}

#[tokio::test]
async fn a_source_that_brings_another_commit_is_not_believed() {
    if !has_git("a_source_that_brings_another_commit_is_not_believed") {
        return;
    }
    let origin = Origin::new();
    let mut job = origin.job_without_sources(&format!("{CHECKOUT}- if: always()\n  run: ls\n"));
    job.sources = Some(Arc::new(OneCommit { path: origin.path(), instead: Some(origin.other.clone()) }));
    let ran = job.run().await;
    assert_eq!(ran.verdicts(), ["failure/failure", "success/success"]);
    assert!(ran.printed().is_empty());
    let told = format!("the source of o/r brought '{}' and not {}", origin.other, &origin.second[..7]);
    assert!(ran.notes().contains(&told), "{}", ran.notes());
}

#[tokio::test]
async fn in_a_lent_folder_the_runs_own_repository_is_there_already() {
    for with in ["", "  with: {ref: main, path: ., clean: true, fetch-depth: 0}\n"] {
        let mut job = steps(&format!(
            "- uses: actions/checkout@v4\n  id: c\n{with}- run: cat mine; echo '${{{{ steps.c.outputs.commit }}}} ${{{{ steps.c.outputs.ref }}}}'\n"
        ));
        let folder = job.lend_workspace();
        fs::write(folder.join("mine"), "mine\n").unwrap();
        job.contexts.set_field("github", "ref_name", "main");
        job.contexts.set_field("github", "sha", "a".repeat(40));
        // no git is needed for that
        job.host.insert("PATH".to_owned(), only_programs(job.folder.path(), &["bash", "sh", "cat"]));
        let ran = job.run().await;
        let head = if with.is_empty() { "refs/heads/main" } else { "main" };
        let outputs = format!("{} {head}", "a".repeat(40));
        assert_eq!(ran.printed(), ["mine".to_owned(), outputs], "{}", ran.notes());
        let told = "the workspace is the folder you started from; nothing was checked out";
        assert!(ran.notes().contains(told), "{}", ran.notes());
    }
}

/// A folder with links to these programs alone.
fn only_programs(folder: &Path, names: &[&str]) -> String {
    let programs = folder.join("programs");
    fs::create_dir(&programs).unwrap();
    for name in names {
        let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name));
        let found = found.iter().find(|path| path.is_file()).unwrap();
        std::os::unix::fs::symlink(found, programs.join(name)).unwrap();
    }
    programs.display().to_string()
}

#[tokio::test]
async fn nothing_is_put_over_a_lent_folder_and_without_sources_nothing_into_it() {
    for (with, told) in [
        ("path: sub", "no source of o/r at abc"),
        ("path: sub, repository: a/b", "no source of a/b at its default branch is known here: clone it"),
        ("ref: dev", "o/r at dev is not put over it; give the checkout a `path`"),
        ("repository: a/b", "a/b at its default branch is not put over it"),
    ] {
        let mut job = steps(&format!("- uses: actions/checkout@v4\n  with: {{{with}}}\n"));
        let folder = job.lend_workspace();
        job.contexts.set_field("github", "sha", format!("abc{}", "0".repeat(37)));
        let ran = job.run().await;
        assert_eq!(ran.verdicts(), ["failure/failure"], "{with}");
        assert!(ran.notes().contains(told), "{with}: {}", ran.notes());
        assert!(ran.notes().contains("if: vars.WFENGINE != 'true'"), "{with}: {}", ran.notes());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{with}");
    }
}

#[tokio::test]
async fn a_checkout_in_a_lent_folder_is_used_again_and_never_emptied() {
    if !has_git("a_checkout_in_a_lent_folder_is_used_again_and_never_emptied") {
        return;
    }
    let origin = Origin::new();
    let lent = tempfile::tempdir().unwrap();
    let run = async |with: &str| {
        let mut job = origin.job(&format!("- uses: actions/checkout@v4\n  with: {{{with}}}\n"));
        job.workspace = wfengine_executor::Workspace::Lent(lent.path().to_owned());
        job.run().await
    };
    let file = |name: &str| fs::read_to_string(lent.path().join(name)).unwrap_or_default();
    let ran = run("repository: a/b, path: tool").await;
    assert_eq!((file("tool/file.txt").as_str(), ran.outcome.conclusion), ("two\n", Conclusion::Success));
    let ran = run("repository: a/b, path: tool, ref: other").await;
    assert_eq!(file("tool/file.txt"), "other\n", "{}", ran.notes());
    for (name, text) in [("tool/file.txt", "mine\n"), ("tool/new", "mine\n")] {
        let before = file(name);
        fs::write(lent.path().join(name), text).unwrap();
        let ran = run("repository: a/b, path: tool").await;
        assert_eq!(ran.verdicts(), ["failure/failure"], "{name}");
        assert!(ran.notes().contains("nothing is removed from the folder"), "{}", ran.notes());
        assert_eq!(file(name), text);
        if name == "tool/new" {
            fs::remove_file(lent.path().join(name)).unwrap();
        } else {
            fs::write(lent.path().join(name), before).unwrap();
        }
    }
    let ran = run("repository: c/d, path: tool").await;
    assert_eq!(
        (ran.verdicts(), file("tool/file.txt")),
        (vec!["failure/failure".to_owned()], "other\n".into())
    );
    fs::create_dir(lent.path().join("own")).unwrap();
    fs::write(lent.path().join("own/x"), "").unwrap();
    assert_eq!(run("path: own").await.verdicts(), ["failure/failure"]);
    assert!(lent.path().join("own/x").exists());
}

#[tokio::test]
async fn a_fresh_workspace_without_a_source_says_what_is_missing() {
    if !has_git("a_fresh_workspace_without_a_source_says_what_is_missing") {
        return;
    }
    let origin = Origin::new();
    let job = |field: &str| {
        let mut job = origin.job_without_sources(CHECKOUT);
        if !field.is_empty() {
            job.contexts.set_field("github", field, "");
        }
        job
    };
    for (field, told) in [
        ("", "no source of o/r at ".to_owned() + &origin.second[..7]),
        ("sha", "the run names no commit".to_owned()),
        ("repository", "the run names no repository".to_owned()),
    ] {
        let ran = job(field).run().await;
        assert_eq!(ran.verdicts(), ["failure/failure"]);
        assert!(ran.notes().contains(&format!("##[error]{told}")), "{field}: {}", ran.notes());
    }
}

#[tokio::test]
async fn a_host_without_git_is_named_before_the_first_step() {
    let mut job = steps(&format!("- run: echo unreached\n{CHECKOUT}"));
    job.host.insert("PATH".to_owned(), only_programs(job.folder.path(), &["bash", "sh"]));
    let (result, events, job) = job.try_run(&mut AlwaysOpen).await;
    let error = result.unwrap_err();
    assert!(matches!(&error, JobError::Program { program: "git", .. }), "{error}");
    assert!(error.to_string().contains("`git` is not on this host"), "{error}");
    assert!(events.is_empty() && !job.temp_root().exists());
}

/// Has git print what it sees, and brings nothing.
#[derive(Debug)]
struct Seen {
    printed: Arc<Mutex<String>>,
}

impl Sources for Seen {
    fn fetch<'a>(&'a self, wanted: &'a Wanted, into: &'a Repository) -> Fetching<'a> {
        Box::pin(async move {
            let look = "alias.look=!env; printf 'home holds %s\\n' $(ls -A \"$HOME\" | wc -l)";
            *self.printed.lock().unwrap() = into.ask(&["-c", look, "look"]).await?;
            let repository = wanted.repository.clone();
            Err(SourcesError::Unknown { repository, why: "nothing is brought".to_owned() })
        })
    }
}

#[tokio::test]
async fn git_has_an_empty_home_of_the_job_and_is_known_as_the_jobs() {
    if !has_git("git_has_an_empty_home_of_the_job_and_is_known_as_the_jobs") {
        return;
    }
    let origin = Origin::new();
    let mut job =
        origin.job_without_sources(&format!("{CHECKOUT}- if: always()\n  run: echo $RUNNER_TRACKING_ID\n"));
    let printed = Arc::new(Mutex::new(String::new()));
    job.sources = Some(Arc::new(Seen { printed: Arc::clone(&printed) }));
    let jobs = job.temp_root();
    let ran = job.run().await;
    let seen = printed.lock().unwrap().clone();
    let value = |name: &str| {
        let of = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        seen.lines().find_map(of).unwrap_or_default()
    };
    assert_eq!([value("RUNNER_TRACKING_ID")], ran.printed()[..], "{seen}");
    assert!(!value("RUNNER_TRACKING_ID").is_empty());
    assert!(Path::new(&value("HOME")).starts_with(fs::canonicalize(jobs).unwrap()), "{seen}");
    assert!(seen.ends_with("home holds 0"), "{seen}");
}

/// Starts git as a process that never ends, then says that it is there.
#[derive(Debug)]
struct Endless {
    alive: std::path::PathBuf,
    started: watch::Sender<bool>,
}

impl Sources for Endless {
    fn fetch<'a>(&'a self, _wanted: &'a Wanted, into: &'a Repository) -> Fetching<'a> {
        Box::pin(async move {
            let hang = format!(
                "alias.hang=!exec 3> {}; trap '' TERM; sleep 600 & touch started; while :; do sleep 600; done",
                self.alive.display()
            );
            let wait = async {
                while !into.folder().join("started").exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                self.started.send_replace(true);
                std::future::pending::<()>().await;
            };
            let arguments = ["-c", hang.as_str(), "hang"];
            let (ended, ()) = tokio::join!(into.run(&arguments), wait);
            panic!("it ended: {ended:?}")
        })
    }
}

fn endless(
    steps_text: &str,
) -> (Bench, watch::Receiver<bool>, tokio::task::JoinHandle<std::io::Result<Vec<u8>>>) {
    let mut job = steps(steps_text);
    let alive = job.folder.path().join("alive");
    assert!(std::process::Command::new("mkfifo").arg(&alive).status().unwrap().success());
    let (started, starts) = watch::channel(false);
    job.contexts.set_field("github", "sha", "a".repeat(40));
    job.sources = Some(Arc::new(Endless { alive: alive.clone(), started }));
    (job, starts, tokio::task::spawn_blocking(move || fs::read(alive)))
}

#[tokio::test]
async fn a_cancel_ends_a_checkout_with_all_its_processes() {
    if !has_git("a_cancel_ends_a_checkout_with_all_its_processes") {
        return;
    }
    let (job, mut starts, everybody_gone) =
        endless(&format!("{CHECKOUT}- run: echo unreached\n- if: always()\n  run: echo clean\n"));
    let (control, stops) = watch::channel(Control::Continue);
    let task = tokio::spawn(async move {
        let workflow = job.parsed();
        let mut lines = Vec::new();
        let mut hear = |event: JobEvent| lines.push(event);
        let outcome = run_job(job.input(&workflow), &mut hear, stops, &mut AlwaysOpen).await;
        (outcome, job)
    });
    starts.wait_for(|started| *started).await.unwrap();
    control.send_replace(Control::Stop(stop_at("", StopReason::Cancelled, 60_000).stop));
    let (outcome, _job) = task.await.unwrap();
    let outcome = outcome.unwrap();
    assert_eq!(
        (outcome.conclusion, outcome.ending),
        (Conclusion::Cancelled, Ending::Stopped(StopReason::Cancelled))
    );
    let outcomes: Vec<_> = outcome.steps.iter().map(|step| step.outcome).collect();
    assert_eq!(outcomes, [Conclusion::Cancelled, Conclusion::Skipped, Conclusion::Success]);
    let gone = tokio::time::timeout(Duration::from_secs(60), everybody_gone).await;
    gone.expect("a process of the checkout is alive").unwrap().unwrap();
}

#[tokio::test]
async fn a_checkout_has_the_time_of_its_step() {
    if !has_git("a_checkout_has_the_time_of_its_step") {
        return;
    }
    let (job, _starts, everybody_gone) =
        endless("- uses: actions/checkout@v4\n  timeout-minutes: 0.01\n- if: failure()\n  run: echo after\n");
    let alive = job.folder.path().join("alive");
    let ran = job.run().await;
    assert_eq!(ran.verdicts(), ["failure/failure", "success/success"]);
    assert!(ran.notes().contains("it took longer than its 0.01 minutes"), "{}", ran.notes());
    // in case git had not come so far
    drop(fs::OpenOptions::new().read(true).write(true).open(alive).unwrap());
    let gone = tokio::time::timeout(Duration::from_secs(60), everybody_gone).await;
    gone.expect("a process of the checkout is alive").unwrap().unwrap();
}
