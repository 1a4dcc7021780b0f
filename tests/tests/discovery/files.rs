//! Workflow files: tagged in every dialect and place, look-alikes, and real ones of the corpus in between.

use std::path::Path;

/// One job that runs here and at GitHub.
const JOBS: &str = "jobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n    - run: echo hi\n";

/// A tagged workflow.
pub(crate) fn workflow(tags: &str, on: &str) -> String {
    format!("name: CI\n# P2P: {tags}\non: {on}\n{JOBS}")
}

/// A workflow without tags, unlike any other of another number.
pub(crate) fn untagged(number: usize) -> String {
    format!("name: Plain {number}\non: push\n{JOBS}")
}

/// How a file is tagged: a name for the dialect, what is put before a file, its canonical tags. The keys of a dialect are not those
/// of the files that it is put before.
pub(crate) const DIALECTS: [(&str, &str, &str); 12] = [
    ("env", "env:\n  WORKFLOW_TAGS: p2p-only,code-generation\n", "p2p-only code-generation"),
    ("env-p2p-tags", "env:\n  P2P_TAGS: \"P2P_Eligible web_scrape\"\n", "p2p-eligible web-scraping"),
    ("env-workflow-tag", "env:\n  WORKFLOW_TAG: P2P_ONLY\n", "p2p-only"),
    ("env-workflow-type", "env:\n  workflow_type: offline-workflow\n", "p2p-only"),
    (
        "env-list",
        "env:\n  WORKFLOW_TAGS: >-\n    p2p-eligible,\n    code-gen\n",
        "p2p-eligible code-generation",
    ),
    ("comment-p2p", "# P2P: p2p-eligible, data-processing\n", "p2p-eligible data-processing"),
    ("comment-tags", "#   Tags: p2p-only web-scraping\n", "p2p-only web-scraping"),
    ("comment-brackets", "# p2p: [p2p-only, 'data_processing']\n", "p2p-only data-processing"),
    ("name", "name: Nightly P2P-Workflow of the lab\n", "p2p-only"),
    ("name-offline", "name: an offline_workflow\n", "p2p-only"),
    ("labels", "labels: [p2p-eligible, high-memory]\n", "p2p-eligible high-memory"),
    ("labels-scalar", "labels: p2p-workflow\n", "p2p-only"),
];

/// Whole files whose jobs say it.
pub(crate) const IN_JOBS: [(&str, &str, &str); 3] = [
    (
        "job-env",
        "on: push\njobs:\n  a:\n    runs-on: x\n    env: {P2P_TAGS: 'p2p-only'}\n    steps: [{run: ls}]\n",
        "p2p-only",
    ),
    (
        "job-name",
        "on: push\njobs:\n  a:\n    name: a p2p-workflow job\n    runs-on: x\n    steps: [{run: ls}]\n",
        "p2p-only",
    ),
    (
        "job-labels",
        "on: push\njobs:\n  a:\n    labels: [p2p-only]\n    runs-on: x\n    steps: [{run: ls}]\n",
        "p2p-only",
    ),
];

/// What is put before a file and tags nothing.
pub(crate) const LOOK_ALIKES: [(&str, &str); 6] = [
    ("commented-out", "# env:\n#   WORKFLOW_TAGS: p2p-only\n"),
    ("sentence", "# P2P: only when the lab is quiet, says p2p-only Bob\n"),
    ("other-key", "# P2P cache: p2p-only\n# My tags: p2p-only\n"),
    ("string", "name: 'P2P: p2p-only'\n"),
    ("other-variable", "env:\n  MY_WORKFLOW_TAGS: p2p-only\n  NOTE: 'Tags: p2p-only'\n"),
    ("expression", "env:\n  WORKFLOW_TAGS: ${{ vars.P2P && 'p2p-only' }}\n"),
];

/// A whole file that speaks of tags in its scripts alone.
pub(crate) const IN_SCRIPT: &str = "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n    - run: |\n        # P2P: p2p-only\n        env:\n          WORKFLOW_TAGS=p2p-only make\n";

/// The real files of the corpus that are tagged as they are.
pub(crate) const TAGGED_IN_USE: [&str; 2] = [
    "endomorphosis+ipfs_accelerate_py__example-p2p-workflow.yml",
    "endomorphosis+ipfs_kit_py__examples__p2p_workflows__process_dataset.yml",
];

/// Names and texts of files that nobody tagged: real ones, or made up where there is no corpus.
pub(crate) fn plain(corpus: Option<&Path>) -> Vec<(String, String)> {
    let Some(corpus) = corpus else {
        return (0..160).map(|number| (format!("plain-{number}.yml"), untagged(number))).collect();
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(corpus.join("workflows")).expect("the workflows of the corpus") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if (name.ends_with(".yml") || name.ends_with(".yaml")) && !TAGGED_IN_USE.contains(&name.as_str()) {
            files.push((name, std::fs::read_to_string(path).expect("a text")));
        }
    }
    files.sort();
    // every second one: of all kinds, and enough
    files.into_iter().step_by(2).collect()
}
