//! Bad input: said what, where and what was expected, with the right exit status, before anything is written or run.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod house;

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use house::{House, text};
use wfengine_storage_format::run_id;

const JOB: &str = "    runs-on: ubuntu-latest\n    steps: [{run: touch ran}]\n";

#[test]
fn a_malformed_workflow_is_named_with_file_line_column_and_what_was_expected() {
    let house = House::new();
    let jobs = |rest: &str| format!("on: push\njobs:\n  a:\n{rest}");
    for (content, complaints) in [
        (jobs("    runs-on: ubuntu-latest\n    stepz: []\n"), vec!["w.yml:5:5", "stepz", "steps"]),
        (jobs("    steps: [\n"), vec!["w.yml:5:1", "not YAML"]),
        (jobs(&format!("    needs: b\n{JOB}")), vec!["w.yml:4:12", "'b'"]),
        (jobs(&format!("    needs: a\n{JOB}")), vec!["w.yml:4:12", "a → a"]),
        (
            jobs("    runs-on: ubuntu-latest\n    steps:\n      - run: echo ${{ nonsense.x }}\n"),
            vec!["w.yml:6:", "nonsense"],
        ),
        (
            jobs("    runs-on: ubuntu-latest\n    steps:\n      - run: echo ${{ github.actor\n"),
            vec!["w.yml:6:"],
        ),
        (
            jobs("    runs-on: ubuntu-latest\n    timeout-minutes: soon\n    steps: [{run: echo}]\n"),
            vec!["w.yml:5:22", "number"],
        ),
        ("on: push\n".to_owned(), vec!["w.yml:1:1", "jobs"]),
        ("[1, 2]\n".to_owned(), vec!["w.yml:1:1", "mapping"]),
        (String::new(), vec!["w.yml:1:1", "mapping"]),
        ("on: push\non: pull_request\njobs: {}\n".to_owned(), vec!["w.yml:2:1", "on"]),
    ] {
        house.put("w.yml", &content);
        for verb in ["run", "submit"] {
            let said = house.ask(&[verb, "w.yml"]).ends(2).complains(&complaints);
            assert!(said.out.is_empty(), "{said:?}");
        }
        let said = house.ask(&["--json", "run", "w.yml"]).ends(2);
        assert!(said.out.is_empty(), "{said:?}");
    }
    assert!(!house.data().exists(), "a bad file opens nothing");
}

#[test]
fn a_file_that_is_no_workflow_at_all_is_refused() {
    let house = House::new();
    house.put("utf16.yml", b"\xff\xfeo\x00n\x00");
    house.put("binary.yml", (0..=255).cycle().take(4_000).collect::<Vec<u8>>());
    house.put("huge.yml", vec![b'a'; 600_000]);
    std::fs::create_dir(house.desk().join("folder.yml")).unwrap();
    for (file, complaints) in [
        ("utf16.yml", vec!["utf16.yml", "UTF-8"]),
        ("binary.yml", vec!["binary.yml"]),
        ("huge.yml", vec!["huge.yml", "512 KiB"]),
        ("folder.yml", vec!["folder.yml is a directory", ".github/workflows"]),
        ("missing.yml", vec!["no such file: missing.yml", "wfengine example hello", ".github/workflows"]),
        // a device that never ends
        ("/dev/zero", vec!["/dev/zero", "512 KiB"]),
    ] {
        for verb in ["run", "submit"] {
            house.ask(&[verb, file]).ends(2).complains(&complaints);
        }
    }
    assert!(!house.data().exists());
}

#[test]
fn a_missing_file_comes_with_the_files_that_may_have_been_meant() {
    let house = House::new();
    for folder in [".github/workflows", ".wfengine/workflows"] {
        std::fs::create_dir_all(house.desk().join(folder)).unwrap();
    }
    for file in ["hello.yml", ".github/workflows/build-and-test.yml", ".wfengine/workflows/build.yaml"] {
        house.put(file, "");
    }
    house.put(".github/workflows/notes.txt", "");
    let meant = |named: &str| -> Vec<String> {
        let said = house.ask(&["run", named]).ends(2);
        assert_eq!(house.ask(&["submit", named]).ends(2).err, said.err);
        let candidates = said.err.lines().filter_map(|line| line.trim().strip_prefix("did you mean "));
        candidates.map(|candidate| candidate.trim_end_matches('?').to_owned()).collect()
    };
    let both = [".github/workflows/build-and-test.yml", ".wfengine/workflows/build.yaml"];
    assert_eq!(meant("build.yml"), both);
    assert_eq!(meant("build"), both);
    assert_eq!(meant("biuld.yml"), [".wfengine/workflows/build.yaml"]);
    assert_eq!(meant("./helo.yml"), ["./hello.yml"]);
    assert_eq!(meant(".github/workflows/build.yml"), both);
    assert!(meant("notes.yml").is_empty());
    // an example that was not written yet
    house.ask(&["run", "scrape.yml"]).ends(2).complains(&["`wfengine example scrape` writes it"]);
    // a directory is not guessed into
    assert_eq!(meant(".github/workflows"), [".github/workflows/build-and-test.yml"]);
    assert_eq!(meant("."), ["hello.yml", both[0], both[1]]);
    assert!(!house.data().exists(), "a bad file opens nothing");
}

#[test]
fn keys_that_are_not_supported_are_named_before_anything_runs() {
    let house = House::new();
    house.put(
        "w.yml",
        format!("on: push\njobs:\n  first:\n{JOB}  boxed:\n    container: alpine\n{JOB}  db:\n    services: {{db: {{image: x}}}}\n{JOB}  used:\n    runs-on: ubuntu-latest\n    steps: [{{uses: actions/cache@v4}}, {{uses: actions/checkout@v4, with: {{lfs: true}}}}]\n  called:\n    uses: ./.github/workflows/x.yml\n"),
    );
    let keys = [
        "jobs.boxed.container",
        "jobs.db.services",
        "jobs.used.steps[0].uses",
        "jobs.used.steps[1].with.lfs",
        "jobs.called.uses",
    ];
    for verb in ["run", "submit"] {
        house.ask(&[verb, "w.yml"]).ends(2).complains(&keys).complains(&["w.yml:7:", "not supported"]);
    }
    assert!(!house.desk().join("ran").exists() && !house.data().exists());
}

#[test]
fn wrong_options_end_with_status_2_and_say_which() {
    let house = House::new();
    house.put("w.yml", format!("on: push\njobs:\n  a:\n{JOB}"));
    let long = "x".repeat(300);
    for (arguments, complaint) in [
        (vec!["no-such-verb"], "no-such-verb"),
        (vec!["run"], "FILE"),
        (vec!["run", "--bogus"], "--bogus"),
        (vec!["work"], "COMMAND"),
        (vec!["list", "--status", "done"], "in_progress"),
        (vec!["list", "--since", "x"], "90s"),
        (vec!["list", "--limit", "many"], "many"),
        (vec!["submit", "w.yml", "--priority", "0"], "--priority 0"),
        (vec!["submit", "w.yml", "--priority", "1000.001"], "1000"),
        (vec!["submit", "w.yml", "--urgency", "11"], "1 to 10"),
        (vec!["submit", "w.yml", "--metadata", "[]"], "JSON object"),
        (vec!["submit", "w.yml", "--metadata", "{"], "not JSON"),
        (vec!["submit", "w.yml", "--backoff", "5s..1s"], "shorter"),
        (vec!["task", "submit", "--task-id", ""], "--task-id"),
        (vec!["task", "submit", "--task-id", "one", "--backoff", "5s..1s"], "shorter"),
        (vec!["task", "submit", "--task-id", &long], "256"),
        (vec!["task", "next", "--lease", "soon"], "--lease soon"),
        (vec!["task", "next", "--lease", "0"], "--lease"),
        (vec!["example", "nothing"], "nothing"),
        (vec!["init", "--peers", "nowhere"], "HOST:PORT"),
        (vec!["allow", "--repo", "owner"], "owner/name"),
        (vec!["allow", "--peer", "nobody"], "nobody"),
        (vec!["completions", "tcsh"], "bash"),
    ] {
        let said = house.ask(&arguments);
        assert_eq!(said.code(), 2, "{arguments:?}: {said:?}");
        said.complains(&[complaint]);
    }
    assert!(house.json(&["list"]).is_empty());
}

#[test]
fn an_unknown_or_ambiguous_id_comes_with_candidates() {
    let house = House::new();
    // two given ids whose runs' ids begin alike
    let mut seen = std::collections::BTreeMap::new();
    let (one, other, beginning) = (0..)
        .find_map(|n| {
            let id = format!("twin-{n}");
            let run = run_id(format!("id:{id}").as_bytes(), 1).to_string();
            let beginning = run.get(..4).unwrap().to_owned();
            seen.insert(beginning.clone(), id.clone()).map(|twin| (twin, id, beginning))
        })
        .unwrap();
    for id in [&one, &other] {
        house.ask(&["task", "submit", "--task-id", id, "--name", &format!("name of {id}")]).ends(0);
    }
    let said = house.ask(&["show", &beginning]).ends(2).complains(&["ambiguous"]);
    for id in [&one, &other] {
        let run = text(&house.show(id), "id").to_owned();
        assert!(said.err.contains(&run), "{said:?}");
        assert_eq!(text(&house.show(run.get(..12).unwrap()), "given_id"), id);
    }
    house.ask(&["show", "name of"]).ends(2).complains(&["not known", "did you mean", &one, &other]);
    for verb in ["show", "why", "logs", "cancel", "rerun", "owner"] {
        house.ask(&[verb, "0000000000000000"]).ends(2).complains(&["0000000000000000"]);
        house.ask(&[verb, "?"]).ends(2).complains(&["`?`"]);
    }
    house.ask(&["list", "--peer", "nobody"]).ends(2).complains(&["nobody", "did you mean"]);
}

#[test]
fn damaged_files_of_the_data_directory_are_named_with_what_to_do() {
    for (file, remedy) in [("settings.json", "move it away"), ("identity", "backup"), ("cluster", "backup")] {
        for garbage in [b"\x00\xffgarbage".as_slice(), b"{\"name\": 3}", b""] {
            let house = House::new();
            house.ask(&["init", "--name", "alpha"]).ends(0);
            std::fs::write(house.data().join(file), garbage).unwrap();
            let said = house.ask(&["list"]);
            assert_ne!(said.code(), 0, "{file}: {said:?}");
            assert!(!said.err.contains("panicked"), "{said:?}");
            said.complains(&[file, remedy]);
        }
    }
}

#[test]
fn a_damaged_log_is_named_and_nothing_panics() {
    let house = House::new();
    house.ask(&["init", "--name", "alpha"]).ends(0);
    let clusters = std::fs::read_dir(house.data().join("clusters")).unwrap();
    let log = clusters.flatten().next().unwrap().path().join("log.redb");
    let whole = std::fs::read(&log).unwrap();
    let mut wrong_magic = whole.clone();
    wrong_magic[..8].fill(0);
    let mut short = whole.clone();
    short.truncate(4096);
    for damaged in [wrong_magic, short, Vec::new(), b"not a database".repeat(1000)] {
        std::fs::write(&log, damaged).unwrap();
        let said = house.ask(&["list"]);
        assert_ne!(said.code(), 0, "{said:?}");
        assert!(!said.err.contains("panicked"), "{said:?}");
        said.complains(&["log.redb"]);
    }
    std::fs::remove_file(&log).unwrap();
    let said = house.ask(&["list"]);
    assert_ne!(said.code(), 0, "{said:?}");
    said.complains(&["missing", "restore it"]);
}

#[test]
fn a_lost_identity_is_no_reason_to_become_somebody_else() {
    let house = House::new();
    house.ask(&["init"]).ends(0);
    std::fs::remove_file(house.data().join("identity")).unwrap();
    house.ask(&["list"]).ends(3).complains(&["identity is missing", "put the file back"]);
    assert!(!house.data().join("identity").exists());
}

#[test]
fn a_path_that_is_no_data_directory_is_left_as_it_is() {
    let house = House::new();
    let full = house.path("letters");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("letter"), "dear").unwrap();
    std::fs::set_permissions(&full, std::fs::Permissions::from_mode(0o755)).unwrap();
    let at = |path: &str| house.ask(&["--data-dir", path, "list"]);
    at(full.to_str().unwrap()).ends(3).complains(&["letters", "holds other files", "--data-dir"]);
    assert_eq!(std::fs::metadata(&full).unwrap().permissions().mode() & 0o777, 0o755);
    at(full.join("letter").to_str().unwrap()).ends(3).complains(&["no directory"]);
    at("/proc/nothing").ends(3).complains(&["/proc/nothing"]);
}

#[test]
fn the_data_directory_of_another_user_is_refused_with_who_that_is() {
    let house = House::new();
    let foreign = house.path("foreign");
    std::fs::create_dir(&foreign).unwrap();
    let path = if std::os::unix::fs::chown(&foreign, Some(65_534), None).is_ok() {
        foreign.to_str().unwrap().to_owned()
    } else {
        // not root: what is root's is another user's
        "/".to_owned()
    };
    house.ask(&["--data-dir", &path, "list"]).ends(3).complains(&["belongs to user id", "--data-dir"]);
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let house = House::new();
    house.ask(&["task", "submit", "--task-id", "one"]).ends(0);
    for arguments in [
        vec!["list"],
        vec!["--json", "list"],
        vec!["status"],
        vec!["man"],
        vec!["completions", "bash"],
        vec!["tags"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = house.command(&arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(
            (output.status.code(), output.stderr.as_slice()),
            (Some(0), b"".as_slice()),
            "{arguments:?}"
        );
    }
}

#[test]
fn names_given_by_others_cannot_steer_the_terminal() {
    let house = House::new();
    house.ask(&["task", "submit", "--task-id", "one", "--name", "red\u{1b}[31m\nlines\rgone"]).ends(0);
    for verb in
        [vec!["list"], vec!["show", "one"], vec!["why", "one"], vec!["owner", "one"], vec!["cancel", "one"]]
    {
        let said = house.ask(&verb).ends(0);
        assert!(said.out.contains("red") && !said.out.contains(['\u{1b}', '\r']), "{said:?}");
    }
    assert_eq!(house.ask(&["list"]).ends(0).out.lines().count(), 2);
}
