//! What lines do that do not just succeed.

/// How a line of a document runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// It ends, and well. What is in no row does.
    Succeeds,
    /// It goes on until the document's end; ready once it has said this.
    GoesOn(&'static str),
    /// It prints, as its last line, what is typed on the second host; that goes on there.
    ForSecondHost,
    /// It succeeds where there is a Docker Engine, and is not run elsewhere.
    WithDocker,
    /// It is not run here, and why.
    NotRun(&'static str),
}

use How::{ForSecondHost, GoesOn, NotRun, WithDocker};

const README: &str = "README.md";
const PROGRAMS: &str = "cli/guide/programs.md";
const METRICS: &str = "cli/guide/metrics.md";
const JAVASCRIPT: &str = "engine/api/clients/javascript/README.md";
const PYTHON: &str = "engine/api/clients/python/README.md";

const BUILDS: &str =
    "builds the workspace: whoever runs this test has done that, and the checks run the rest";
const CHECKS: &str = "one of the checks of the workspace itself, which .ci/run runs";
const SERVES: How = GoesOn("serves on UDP");

/// Document, line without its remark, how.
pub(crate) const LINES: &[(&str, &str, How)] = &[
    (README, "cargo run -- run --example hello", NotRun(BUILDS)),
    (README, "cargo test --workspace", NotRun(BUILDS)),
    (README, "wfengine serve", SERVES),
    (README, "wfengine peer invite", ForSecondHost),
    (
        README,
        "cargo run -p wfengine-tests --bin github-standin -- --fixture DIR",
        NotRun("a program of the workspace; this test has the same stand-in for GitHub inside"),
    ),
    (README, "wfengine runner start --owner YOU --max-runners 4", WithDocker),
    (README, "wfengine runner status", WithDocker),
    (
        README,
        "wfengine runner logs NAME",
        NotRun(
            "needs a runner that had a job, from an image that was pulled: the tests of runner_cluster read such logs",
        ),
    ),
    (README, "wfengine runner stop", WithDocker),
    (README, "wfengine work -- ./make-report", GoesOn("report-7: completed")),
    (README, "cargo fmt --all", NotRun(CHECKS)),
    (README, "cargo ci-lint", NotRun(CHECKS)),
    (README, "cargo tidy", NotRun(CHECKS)),
    (README, "cargo test -p wfengine-core", NotRun(CHECKS)),
    (README, "cargo sim", NotRun(CHECKS)),
    (
        README,
        "cargo bench -p wfengine-benches",
        NotRun("takes many minutes, and its figures mean something on a quiet machine alone"),
    ),
    (README, ".ci/run", NotRun(CHECKS)),
    (PROGRAMS, "wfengine serve", SERVES),
    (
        PROGRAMS,
        "curl -s -N -H \"Authorization: Bearer $TOKEN\" 'http://127.0.0.1:8080/api/v1/live/events?from=0'",
        GoesOn("RunSubmitted"),
    ),
    (METRICS, "wfengine serve", SERVES),
    (JAVASCRIPT, "wfengine serve", SERVES),
    (
        JAVASCRIPT,
        "WFENGINE_NODE=http://127.0.0.1:8080 WFENGINE_TOKEN=… WFENGINE_DOCUMENTS=FOLDER npm test",
        NotRun("the client's own tests, which the tests called clients run against a node"),
    ),
    (
        PYTHON,
        "WFENGINE_NODE=http://127.0.0.1:8080 WFENGINE_TOKEN=$(cat ~/.local/share/wfengine/http-token) WFENGINE_DOCUMENTS=DIR python3 -m unittest test_wfengine",
        NotRun("the client's own tests, which the tests called clients run against a node"),
    ),
];
