//! Steps as real processes: shells, environment, environment files, commands, conditions, results.

use crate::harness::{bench, run, steps};
use wfengine_executor::{
    DropReason, JobEvent,
    log::{LINE_BYTES_MAX, Stream},
    workflow_commands::Level,
};
use wfengine_workflow::{Conclusion, Value};

#[tokio::test]
async fn a_job_runs_its_steps_in_order_and_logs_every_line_with_its_step() {
    let ran = run(r#"
- run: echo one; echo two >&2
- name: second
  id: two
  run: printf 'no line end'
"#)
    .await;
    assert_eq!(ran.outcome.conclusion, Conclusion::Success);
    assert_eq!(ran.printed(), ["one", "no line end"]);
    assert_eq!(ran.of(Stream::Err), ["two"]);
    assert!(ran.notes().starts_with("a note of the caller\n"), "{}", ran.notes());
    let second = &ran.outcome.steps[1];
    assert_eq!(
        (second.number, second.id.as_deref(), second.name.as_str(), second.exit_code),
        (2, Some("two"), "second", Some(0))
    );
    assert_eq!(ran.outcome.steps[0].name, "Run echo one; echo two >&2");
    let told: Vec<_> = ran
        .events
        .iter()
        .filter_map(|event| match event {
            JobEvent::Line(line) => Some(line.clone()),
            JobEvent::StepStarted { .. } | JobEvent::StepFinished(_) => None,
        })
        .collect();
    assert_eq!(told, ran.lines, "what was told is what was logged");
    assert_eq!(std::fs::metadata(&ran.outcome.log.path).unwrap().len(), ran.outcome.log.bytes);
    assert!(ran.leftovers().is_empty());
}

#[tokio::test]
async fn each_shell_behaves_as_on_github() {
    let ran = run(r#"
- name: without a word, bash stops at an error but not inside a pipe
  run: |
    false | echo "pipe ${BASH_VERSION:+bash}"
    false
    echo unreached
  continue-on-error: true
- name: bash by name, a pipe that fails is a failure
  shell: bash
  run: |
    false | true
    echo unreached
  continue-on-error: true
- name: sh
  shell: sh
  run: |
    echo "sh ${0##*/}"
- name: a command of one's own
  shell: bash -c 'echo "own $1 ${2##*.}"; . "$2"' name "two words" {0}
  run: echo sourced
- name: a shell that is not there
  shell: surely-not-a-shell {0}
  run: echo unreached
"#)
    .await;
    assert_eq!(
        ran.verdicts(),
        ["failure/success", "failure/success", "success/success", "success/success", "failure/failure"]
    );
    let printed = ran.printed();
    assert_eq!(printed[..2], ["pipe bash", "sh step_3.sh"]);
    assert!(printed[2].starts_with("own two words"), "{printed:?}");
    assert_eq!(printed[3..], ["sourced"]);
    let error = &ran.outcome.annotations.last().unwrap().annotation;
    assert!(
        error.message.contains("`surely-not-a-shell` is not on this host (looked in PATH:"),
        "{}",
        error.message
    );
    assert_eq!(ran.outcome.steps[4].exit_code, None);
}

#[tokio::test]
async fn python_runs_where_it_is_installed() {
    let there = std::process::Command::new("python3")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        println!("python_runs_where_it_is_installed did not run: install python3 to enable it");
        return;
    }
    let ran = run("- shell: python\n  run: |\n    import sys\n    print('python', sys.version_info.major)\n    sys.exit(4)\n").await;
    assert_eq!(ran.printed(), ["python 3"]);
    assert_eq!(ran.outcome.steps[0].exit_code, Some(4));
}

#[tokio::test]
async fn a_step_sees_a_short_list_of_the_host_and_what_is_documented() {
    let ran = run(r#"
- id: look
  run: |
    env -0 | tr '\n\0' ' \n' | cut -d= -f1 | sort
    echo "$CI $GITHUB_ACTIONS $GITHUB_REPOSITORY $GITHUB_SHA $GITHUB_RUN_ID $GITHUB_RUN_NUMBER $GITHUB_JOB $GITHUB_ACTION"
    echo "$WFENGINE_RUN_ID $WFENGINE_JOB_ID $WFENGINE_FENCING_TOKEN $WFENGINE_IDEMPOTENCY_KEY $RUNNER_NAME $RUNNER_OS"
    test "$PWD" = "$GITHUB_WORKSPACE" && test -d "$RUNNER_TEMP" && cat "$GITHUB_EVENT_PATH" | tr -d ' \n'
"#)
    .await;
    let printed = ran.printed();
    let (names, values) = printed.split_at(printed.len() - 3);
    let known = |name: &str| {
        wfengine_executor::environment::HOST_VARIABLES.contains(&name)
            || ["CI", "LAYER", "PWD", "SHLVL", "OLDPWD", "_"].contains(&name)
            || ["GITHUB_", "RUNNER_", "WFENGINE_"].iter().any(|prefix| name.starts_with(prefix))
    };
    let leaked: Vec<_> = names.iter().filter(|name| !known(name)).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    assert_eq!(
        values,
        ["true true o/r abc 77 5 build look", "run-1 job-1 3-0-0-aa job-1 alice Linux", r#"{"a":[1]}"#]
    );
}

#[tokio::test]
async fn the_environment_has_layers_and_files_add_to_them() {
    let mut job = bench(
        r#"    env:
      LAYER: job
      FROM: ${{ env.LAYER }}${{ github.sha }}
    steps:
      - run: |
          echo "$LAYER"
          echo "LAYER=file" >> "$GITHUB_ENV"
          echo "GITHUB_SHA=forged" >> "$GITHUB_ENV"
          printf 'MANY<<END\nfirst\n\n  second\nEND\n' >> "$GITHUB_ENV"
      - run: echo "$LAYER ${{ env.LAYER }} $GITHUB_SHA"; echo "$MANY"
      - env: { LAYER: step, OWN: "${{ env.LAYER }}" }
        if: env.OWN == 'file'
        run: echo "$LAYER ${{ env.LAYER }} $OWN"
      - run: |
          mkdir -p bin; printf '#!/bin/sh\necho from path\n' > bin/tool-of-test; chmod +x bin/tool-of-test
          echo "$PWD/bin" >> "$GITHUB_PATH"
      - run: tool-of-test
"#,
    );
    // The env of a job may not name env itself.
    job.workflow = job.workflow.replace("${{ env.LAYER }}${{ github.sha }}", "${{ github.sha }}");
    let ran = job.run().await;
    assert_eq!(
        ran.printed(),
        ["job", "file file abc", "first", "", "  second", "step step file", "from path"],
        "{}",
        ran.notes()
    );
}

#[tokio::test]
async fn outputs_reach_later_steps_and_the_job() {
    let ran = bench(
        r#"    outputs:
      plain: ${{ steps.a.outputs.plain }}
      many: ${{ steps.a.outputs.many }}
      old: ${{ steps.a.outputs.old }}
      nothing: ${{ steps.a.outputs.absent }}
      secret: x${{ steps.a.outputs.secret }}
    steps:
      - id: a
        run: |
          echo "plain=a=b" >> "$GITHUB_OUTPUT"
          printf 'many<<E\none\ntwo\nE\n' >> "$GITHUB_OUTPUT"
          echo "::set-output name=old::100%25"
          echo "::add-mask::hunter22"
          echo "secret=hunter22" >> "$GITHUB_OUTPUT"
      - run: echo "${{ steps.a.outputs.plain }} ${{ steps.a.outcome }} ${{ job.status }}"
"#,
    )
    .run()
    .await;
    let outputs: Vec<_> = ran.outcome.outputs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(outputs, ["many=one\ntwo", "old=100%", "plain=a=b"]);
    let dropped: Vec<_> =
        ran.outcome.dropped_outputs.iter().map(|output| (output.name.as_str(), output.why)).collect();
    assert_eq!(dropped, [("secret", DropReason::Masked)]);
    assert_eq!(ran.printed(), ["a=b success success"]);
    assert!(ran.notes().contains("The output `secret` is not handed on"));
    assert!(ran.notes().contains("`::set-output` is deprecated"));
}

#[tokio::test]
async fn outputs_beyond_the_bound_are_left_out() {
    let mut job = bench(
        r#"    outputs:
      a: ${{ steps.s.outputs.a }}
      b: ${{ steps.s.outputs.b }}
    steps:
      - id: s
        run: |
          echo "a=$(printf '%0200d' 0)" >> "$GITHUB_OUTPUT"
          echo "b=small" >> "$GITHUB_OUTPUT"
"#,
    );
    job.limits.outputs_bytes_max = 100;
    let ran = job.run().await;
    assert_eq!(ran.outcome.outputs.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(ran.outcome.dropped_outputs[0].why, DropReason::TooLong);
}

#[tokio::test]
async fn a_malformed_file_fails_its_step_and_names_the_line() {
    let ran = run(r#"
- run: printf 'A=1\nwrong\n' >> "$GITHUB_ENV"
- if: always()
  run: rm "$GITHUB_OUTPUT"; mkfifo "$GITHUB_OUTPUT"
- if: always()
  run: echo "NODE_OPTIONS=--x" >> "$GITHUB_ENV"
- if: always()
  run: printf 'A<<E\nx\n' >> "$GITHUB_OUTPUT"
"#)
    .await;
    assert_eq!(ran.verdicts(), ["failure/failure"; 4]);
    let messages: Vec<_> =
        ran.outcome.annotations.iter().map(|found| found.annotation.message.as_str()).collect();
    assert!(messages[0].starts_with("GITHUB_ENV, line 2: `wrong`"), "{messages:?}");
    assert!(messages[1].contains("GITHUB_OUTPUT cannot be read (it is not a regular file)"), "{messages:?}");
    assert!(
        messages[2].contains("NODE_OPTIONS") && messages[3].contains("no later line is exactly `E`"),
        "{messages:?}"
    );
}

#[tokio::test]
async fn conditions_see_what_happened() {
    let ran = run(r#"
- id: forgiven
  run: exit 7
  continue-on-error: true
- run: echo "${{ steps.forgiven.outcome }} ${{ steps.forgiven.conclusion }}"
- if: failure()
  run: echo no failure so far
- if: false
  run: echo never
- run: exit 3
- run: echo skipped
- if: github.sha == 'abc'
  run: echo skipped, success() is implied
- if: failure() && steps.forgiven.outcome == 'failure'
  run: echo failed
- if: ${{ always() }}
  run: echo "always ${{ job.status }}"
- if: cancelled()
  run: echo not cancelled
"#)
    .await;
    assert_eq!(ran.printed(), ["failure success", "failed", "always failure"]);
    assert_eq!(ran.outcome.conclusion, Conclusion::Failure);
    assert_eq!(
        ran.verdicts(),
        [
            "failure/success",
            "success/success",
            "skipped/skipped",
            "skipped/skipped",
            "failure/failure",
            "skipped/skipped",
            "skipped/skipped",
            "success/success",
            "success/success",
            "skipped/skipped",
        ]
    );
    assert_eq!(ran.outcome.steps[4].exit_code, Some(3));
    assert!(ran.notes().contains("##[error]The step ended with exit code 3."));
}

#[tokio::test]
async fn an_expression_that_fails_fails_its_step_with_its_place() {
    let ran = run("- run: echo ${{ fromJSON('no json') }}\n- if: always()\n  run: echo on\n").await;
    assert_eq!(ran.verdicts(), ["failure/failure", "success/success"]);
    let message = &ran.outcome.annotations[0].annotation.message;
    assert!(message.starts_with("test.yml:8:") && message.contains("fromJSON"), "{message}");
}

#[tokio::test]
async fn matrix_and_needs_are_contexts() {
    let mut job = steps(
        "- run: echo \"${{ matrix.os }} ${{ matrix.v }} ${{ needs.a.outputs.x }} ${{ needs.a.result }}\"\n",
    );
    job.workflow = job
        .workflow
        .replace("    runs-on", "    strategy: { matrix: { os: [l], v: [1.5] } }\n    needs: a\n    runs-on");
    job.workflow.push_str("  a:\n    runs-on: x\n    steps: [ { run: a } ]\n");
    job.contexts.set("matrix", Value::from_json(r#"{"os":"l","v":1.5}"#).unwrap());
    job.contexts.set("needs", Value::from_json(r#"{"a":{"result":"success","outputs":{"x":"y"}}}"#).unwrap());
    assert_eq!(job.run().await.printed(), ["l 1.5 y success"]);
}

#[tokio::test]
async fn the_working_directory_is_the_steps_the_jobs_or_the_workflows() {
    let mut job = bench(
        r#"    defaults: { run: { working-directory: job } }
    steps:
      - working-directory: .
        run: mkdir -p job own; echo "${PWD##*/}"
      - run: echo "${PWD##*/}"
      - working-directory: own
        shell: sh
        run: echo "${PWD##*/}"; echo kept > ../file
      - working-directory: absent
        run: echo unreached
"#,
    );
    let lent = job.lend_workspace();
    let ran = job.run().await;
    assert_eq!(ran.printed(), ["lent", "job", "own"]);
    assert!(ran.notes().contains("absent does not exist"));
    assert_eq!(std::fs::read_to_string(lent.join("file")).unwrap(), "kept\n", "a lent workspace stays");
    assert!(ran.leftovers().is_empty());
}

#[tokio::test]
async fn commands_annotate_group_and_stop() {
    let ran = run(r#"
- run: |
    echo "::group::Title"
    echo "::error file=a.c,line=3,title=T::first%0Asecond"
    echo "::endgroup::"
    echo "::debug::not shown"
    echo "::stop-commands::tok"
    echo "::error::quoted"
    echo "::tok::"
    echo "::no-command::shown"
    for i in $(seq 15); do echo "::notice::$i"; done
- run: echo "::warning::on stderr" >&2
"#)
    .await;
    assert_eq!(ran.outcome.conclusion, Conclusion::Success, "an error annotation fails nothing");
    assert_eq!(ran.printed(), ["::error::quoted", "::no-command::shown"]);
    let annotations: Vec<_> = ran.outcome.annotations.iter().map(|found| &found.annotation).collect();
    let error = annotations.iter().find(|annotation| annotation.level == Level::Error).unwrap();
    assert_eq!(
        (error.file.as_deref(), error.line, error.message.as_str()),
        (Some("a.c"), Some(3), "first\nsecond")
    );
    assert!(annotations.iter().any(|annotation| annotation.level == Level::Warning));
    assert_eq!(annotations.iter().filter(|annotation| annotation.level == Level::Notice).count(), 10);
    let notes = ran.notes();
    assert!(notes.contains("##[group]Title\n##[error]first\nsecond"), "{notes}");
    assert!(notes.contains("##[notice]15") && !notes.contains("##[debug]"));
}

#[tokio::test]
async fn unsecure_commands_fail_the_step_unless_allowed() {
    let ran = run(r#"
- run: echo "::set-env name=A::1"
- if: always()
  env: { ACTIONS_ALLOW_UNSECURE_COMMANDS: true }
  run: |
    echo "::set-env name=A::2"
    echo "::add-path::/some/folder"
- if: always()
  run: echo "$A ${PATH%%:*}"
"#)
    .await;
    assert_eq!(ran.verdicts(), ["failure/failure", "success/success", "success/success"]);
    assert_eq!(ran.printed(), ["2 /some/folder"]);
}

#[tokio::test]
async fn masked_values_are_shown_nowhere() {
    let ran = run(r#"
- id: hide
  run: |
    half='s3cr%t-'
    value="${half}value"
    escaped='s3cr%25t-'
    echo "::add-mask::${escaped}value"
    echo "$value" >&2
    echo "a $value b"
    printf %s "$half"; printf 'value\n'
    printf %s "$value" | base64
    echo "::error::${escaped}value is out"
    echo "summary $value" >> "$GITHUB_STEP_SUMMARY"
    echo "KEPT=$value" >> "$GITHUB_ENV"
- name: show ${{ env.KEPT }}
  run: test "$KEPT" = "${{ env.KEPT }}" && echo "the step itself has it"
"#)
    .await;
    let log = std::fs::read_to_string(&ran.outcome.log.path).unwrap();
    let shown = format!("{log}{:?}{:?}", ran.outcome, ran.events);
    assert!(!shown.contains("s3cr%t-value") && !shown.contains("czNjciV0"), "{shown}");
    let printed = ran.printed();
    assert_eq!(printed[..2], ["a *** b", "***"]);
    assert!(printed[2].starts_with("***"), "{printed:?}");
    assert_eq!(ran.of(Stream::Err), ["***"]);
    assert_eq!(printed.last().unwrap(), "the step itself has it");
    assert_eq!(ran.outcome.steps[0].summary.as_deref(), Some("summary ***\n"));
    assert_eq!(ran.outcome.steps[1].name, "show ***");
    assert_eq!(ran.outcome.annotations[0].annotation.message, "*** is out");
}

#[tokio::test]
async fn a_secret_across_the_cut_of_a_long_line_stays_hidden() {
    let ran = run(r#"
- run: |
    echo "::add-mask::SECRETVALUE"
    head -c 65530 /dev/zero | tr '\0' x
    printf SECRETVALUE
    head -c 100000 /dev/zero | tr '\0' y
    echo; echo next
"#)
    .await;
    let printed = ran.printed();
    assert!(printed[0].len() <= LINE_BYTES_MAX && printed[0].ends_with("[cut: the line has 165541 bytes]"));
    assert!(!printed[0].contains("SECR"));
    assert_eq!(printed[1], "next");
}

#[tokio::test]
async fn a_long_log_is_cut_visibly_and_the_job_goes_on() {
    let mut job = steps(
        "- run: yes 0123456789 | head -n 20000; yes err | head -n 20000 >&2\n- run: echo later; exit 3\n",
    );
    job.limits.log_bytes_max = 20_000;
    let ran = job.run().await;
    assert!(ran.outcome.log.cut && ran.outcome.log.bytes < 25_000);
    assert!(ran.notes().contains("The log is cut here: it reached 20000 bytes."));
    assert!(
        ran.notes().ends_with("##[error]The step ended with exit code 3.\nJob build: failure"),
        "{}",
        ran.notes()
    );
    assert_eq!(ran.outcome.steps[0].exit_code, Some(0), "a step never waits for its reader");
}

#[tokio::test]
async fn odd_bytes_are_kept() {
    let ran = run("- run: printf 'a\\033[31m\\377\\000b\\r\\n'\n").await;
    let line = ran.lines.iter().find(|line| line.stream == Stream::Out).unwrap();
    assert_eq!(line.text, b"a\x1b[31m\xff\0b\r");
}

#[tokio::test]
async fn an_environment_too_large_to_start_with_is_a_clear_error() {
    let ran = run(r#"
- run: echo "BIG=$(head -c 300000 /dev/zero | tr '\0' x)" >> "$GITHUB_ENV"
- run: echo unreached
"#)
    .await;
    assert_eq!(ran.verdicts(), ["success/success", "failure/failure"]);
    assert!(
        ran.notes().contains("larger than this system allows"),
        "{}",
        ran.outcome.annotations[0].annotation.message
    );
}

#[tokio::test]
async fn a_job_that_makes_no_sense_fails_before_its_first_step() {
    let ran = bench("    timeout-minutes: ${{ fromJSON('0') }}\n    steps:\n      - run: echo unreached\n")
        .run()
        .await;
    assert_eq!(ran.outcome.conclusion, Conclusion::Failure);
    assert_eq!(ran.verdicts(), ["skipped/skipped"]);
    assert!(ran.notes().contains("##[error]test.yml:"), "{}", ran.notes());
}

#[tokio::test]
async fn files_of_the_workspace_can_be_hashed() {
    let ran = run(r#"
- run: printf 1 > a.lock
- run: echo "${{ hashFiles('**/*.lock') }}${{ hashFiles('absent') }}"
"#)
    .await;
    let printed = ran.printed();
    assert!(printed.len() == 1 && printed[0].len() == 64, "{printed:?}");
}

#[tokio::test]
async fn an_oversized_value_to_mask_fails_the_step_and_is_not_shown() {
    let ran =
        run("- run: printf '::add-mask::'; head -c 100000 /dev/zero | tr '\\0' S; echo; echo after\n").await;
    assert_eq!(ran.verdicts(), ["failure/failure"]);
    assert_eq!(ran.printed(), ["after"]);
}
