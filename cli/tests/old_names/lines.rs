//! Every command line of the five documents, in their order, with what becomes of it where there is neither a GitHub nor an engine.
//! With both: `with_both.rs`.

use crate::shapes::{self, Shape};

/// What becomes of a command line.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// It is done, and printed in this shape.
    Done(Shape),
    /// It needs a GitHub or an engine: status 1, with the condition and the remedy that the documents name.
    Needs(&'static [&'static str]),
    /// It goes on until it is stopped, and says this.
    GoesOn(&'static str),
    /// It is no command line of these three programs.
    Another,
}

use Wanted::{Another, Done, GoesOn, Needs};

/// Nobody opened a GitHub; discovery says it in its own words.
const NO_TOKEN: Wanted = Needs(&["no GitHub token", "gh auth login"]);
const NOT_AUTHENTICATED: Wanted = Needs(&["Not authenticated with GitHub CLI", "gh auth login"]);
const NO_ENGINE: Wanted = Needs(&["Docker is not accessible", "docker version", "usermod -aG docker"]);
/// A runner is asked of the node that starts them.
const NO_NODE: Wanted = Needs(&["no node serves here", "runner start"]);
const NO_RUNNER: Wanted = Needs(&["abc123def456", "list-containers"]);

pub const DOCUMENTS: &[(&str, &[(&str, Wanted)])] = &[
    (
        "scheduler.md",
        &[
            ("ipfs-datasets p2p init --peer-id my-peer --peers peer2,peer3", Done(shapes::initialized)),
            (
                r#"ipfs-datasets p2p schedule --id wf1 --name "Code Generation" --tags "p2p_eligible,code_gen" --priority 1.0"#,
                Done(shapes::scheduled),
            ),
            ("ipfs-datasets p2p next", Done(shapes::workflow_taken)),
            ("ipfs-datasets p2p status", Done(shapes::counter_status)),
            ("ipfs-datasets p2p add-peer peer4", Done(shapes::peer_changed)),
            ("ipfs-datasets p2p remove-peer peer2", Done(shapes::peer_changed)),
            ("ipfs-datasets p2p tags", Done(shapes::tags_listed)),
            ("ipfs-datasets p2p assigned", Done(shapes::assigned)),
            ("pytest tests/test_p2p_workflow_scheduler.py -v", Another),
            ("cd examples", Another),
            ("python p2p_workflow_demo.py", Another),
        ],
    ),
    (
        "quick-start.md",
        &[
            ("pip install ipfs_accelerate_py", Another),
            ("ipfs-accelerate p2p-workflow status", Done(shapes::scheduler_status)),
            (
                r#"ipfs-accelerate p2p-workflow submit --task-id task1 --workflow-id workflow1 --name "Generate Python Module" --tags p2p-only code-generation --priority 8"#,
                Done(shapes::task_submitted),
            ),
            ("ipfs-accelerate p2p-workflow next", Done(shapes::task_taken)),
            (
                "ipfs-accelerate p2p-workflow check-tags --tags p2p-only code-generation",
                Done(shapes::tags_checked),
            ),
            ("ipfs-accelerate p2p-workflow status", Done(shapes::scheduler_status)),
            (
                "ipfs-accelerate p2p-workflow submit --task-id ID --workflow-id WID --name NAME --tags TAG1 TAG2 --priority N",
                Done(shapes::task_submitted),
            ),
            ("ipfs-accelerate p2p-workflow next", Done(shapes::task_taken)),
            ("ipfs-accelerate p2p-workflow complete --task-id ID", Done(shapes::task_completed)),
            ("ipfs-accelerate p2p-workflow check-tags --tags TAG1 TAG2", Done(shapes::tags_checked)),
            ("ipfs-accelerate p2p-workflow clock [--json]", Done(shapes::clock)),
            ("ipfs-accelerate mcp start --port 9000", GoesOn("programs ask at ")),
            ("pytest test_p2p_workflow_scheduler.py -v", Another),
        ],
    ),
    (
        "quick-reference.md",
        &[
            ("pip install ipfs_kit_py", Another),
            ("ipfs-kit p2p workflow submit workflow.yml --priority 3.0", Done(shapes::file_submitted)),
            ("ipfs-kit p2p workflow assign", Done(shapes::files_assigned)),
            ("ipfs-kit p2p workflow status <workflow_id>", Done(shapes::file_status)),
            ("ipfs-kit p2p workflow list", Done(shapes::files_listed)),
            ("ipfs-kit p2p stats", Done(shapes::kit_stats)),
            (
                "ipfs-kit p2p workflow submit <file> [--name NAME] [--priority N] [--inputs JSON]",
                Done(shapes::file_submitted),
            ),
            ("ipfs-kit p2p workflow assign", Done(shapes::files_assigned)),
            ("ipfs-kit p2p workflow status <id>", Done(shapes::file_status)),
            ("ipfs-kit p2p workflow list [--status STATUS] [--peer-id ID]", Done(shapes::files_listed)),
            (
                "ipfs-kit p2p workflow update <id> <status> [--result JSON] [--error MSG]",
                Done(shapes::file_updated),
            ),
            ("ipfs-kit p2p peer add <peer_id>", Done(shapes::kit_peer_changed)),
            ("ipfs-kit p2p peer remove <peer_id>", Done(shapes::kit_peer_changed)),
            ("ipfs-kit p2p peer list", Done(shapes::kit_peers)),
            ("ipfs-kit p2p stats [--json]", Done(shapes::kit_stats)),
            (r#"export P2P_PEER_ID="my-unique-peer""#, Another),
            (r#"export P2P_DATA_DIR="~/.ipfs_kit/p2p_workflows""#, Another),
            ("ls -la ~/.ipfs_kit/p2p_workflows/", Another),
            ("chmod 755 ~/.ipfs_kit/p2p_workflows/", Another),
        ],
    ),
    (
        "discovery.md",
        &[
            ("ipfs-accelerate github p2p-discover monitor", NO_TOKEN),
            ("ipfs-accelerate github p2p-discover monitor --owner myorg", NO_TOKEN),
            ("ipfs-accelerate github p2p-discover monitor --owner myorg --interval 180", NO_TOKEN),
            ("ipfs-accelerate github p2p-discover once --owner myorg", NO_TOKEN),
            ("ipfs-accelerate github p2p-discover once --owner myorg --output-json", NO_TOKEN),
            ("ipfs-accelerate github autoscaler", NOT_AUTHENTICATED),
            ("ipfs-accelerate github autoscaler --no-p2p", NOT_AUTHENTICATED),
            ("ipfs-accelerate github p2p-discover once --owner myorg", NO_TOKEN),
            ("ipfs-accelerate p2p-workflow status", Done(shapes::scheduler_status)),
            ("ipfs-accelerate github autoscaler --owner myorg 2>&1 | tee autoscaler.log", NOT_AUTHENTICATED),
        ],
    ),
    (
        "runner-autoscaling.md",
        &[
            ("ipfs-accelerate runner start", NOT_AUTHENTICATED),
            ("ipfs-accelerate runner start --owner myorg", NOT_AUTHENTICATED),
            (
                "ipfs-accelerate runner start --owner myorg --interval 60 --max-runners 8 --image myoung34/github-runner:latest",
                NOT_AUTHENTICATED,
            ),
            ("ipfs-accelerate runner start --owner myorg --background", NOT_AUTHENTICATED),
            ("ipfs-accelerate runner status", Done(shapes::runner_status)),
            ("ipfs-accelerate runner list-workflows", NOT_AUTHENTICATED),
            ("ipfs-accelerate runner list-containers", NO_ENGINE),
            ("ipfs-accelerate runner provision --repo owner/repo", NO_NODE),
            ("ipfs-accelerate runner provision", NO_NODE),
            ("ipfs-accelerate runner stop-container --container abc123def456", NO_RUNNER),
            ("ipfs-accelerate runner stop", Done(shapes::runner_stopped)),
            ("gh auth login", Another),
            ("ipfs-accelerate runner start --verbose", NOT_AUTHENTICATED),
            ("gh auth login", Another),
            ("docker version", Another),
            ("sudo usermod -aG docker $USER", Another),
            ("python scripts/utils/github_autoscaler.py --owner myorg", Another),
            ("ipfs-accelerate runner start --owner myorg", NOT_AUTHENTICATED),
            ("ipfs-accelerate runner start --background", NOT_AUTHENTICATED),
            ("ipfs-accelerate runner status", Done(shapes::runner_status)),
            ("ipfs-accelerate runner list-workflows", NOT_AUTHENTICATED),
            ("ipfs-accelerate runner stop", Done(shapes::runner_stopped)),
            (
                "ipfs-accelerate runner start --owner myorg --interval 60 --max-runners 20 --background",
                NOT_AUTHENTICATED,
            ),
        ],
    ),
];
