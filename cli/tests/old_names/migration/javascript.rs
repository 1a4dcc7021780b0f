//! Rows about calls of the JavaScript document: the package's own tests show them.

use super::Rows;
use super::Shown::There;

const DOCUMENTS: &str = "engine/api/clients/javascript/test/documents.test.cjs";
const ERRORS: &str = "engine/api/clients/javascript/test/errors.test.cjs";
const MODULES: &str = "engine/api/clients/javascript/test/modules.test.cjs";
const RUNS: &str = "engine/api/clients/javascript/test/runs.test.cjs";
const WRAPPERS: &str = "engine/api/clients/javascript/test/wrappers.test.cjs";
const SURROUNDINGS: &str = "cli/tests/mcp/surroundings.rs";

const LISTED: &str =
    "test('tools are listed with their schemas, and another name for a call is the same call'";
const SENT: &[&str] = &["const SENT = [", "for (const [method, given, name, body] of SENT)"];

pub const ROWS: Rows = &[
    (
        "`require('ipfs-accelerate-mcp-sdk')`",
        &[There(
            DOCUMENTS,
            &["test('the document has the blocks that these tests know'", "async function executed("],
            &["require('ipfs-accelerate-mcp-sdk')", "require('wfengine')"],
        )],
    ),
    (
        "`new MCP({ url })`",
        &[
            There(
                DOCUMENTS,
                &["test('both blocks run to their end where nothing is missing'"],
                &["new MCP({ url: "],
            ),
            There(
                ERRORS,
                &["test('the token is taken from the option, the variable, and the file, in this order'"],
                &["WFENGINE_TOKEN", "'http-token'"],
            ),
            There(
                MODULES,
                &["test('a browser without a bundler loads it too, and takes nothing from the host'"],
                &["token: TOKEN"],
            ),
        ],
    ),
    ("`mcp.call_tool(name, args)`", &[There(RUNS, &[LISTED], &[])]),
    (
        "`new MCPClient('/jsonrpc')`, `callTool`",
        &[
            There(RUNS, &[LISTED], &["mcp.callTool("]),
            // there is no other class
            There(
                MODULES,
                &["test('import gives the same class, by its name and without'"],
                &["['MCP', 'WfengineError', 'default']"],
            ),
            There(SURROUNDINGS, &["fn all_tools_are_listed("], &["Client::connect("]),
        ],
    ),
    (
        "`tools/list`, `tools/call` by JSON-RPC",
        &[
            There(RUNS, &[LISTED], &["mcp.listTools()"]),
            There(SURROUNDINGS, &["fn all_tools_are_listed("], &["client.tools()"]),
            There("cli/tests/mcp/dialects.rs", &["fn call("], &["client.call(tool"]),
        ],
    ),
    (
        "batches, retries, other transports",
        &[
            There(
                ERRORS,
                &["test('localhost is tried at its other address where nobody was connected to'"],
                &["broken.sent.length, 1"],
            ),
            There(
                MODULES,
                &["test('a browser without a bundler loads it too, and takes nothing from the host'"],
                &["fetch }"],
            ),
        ],
    ),
    (
        "`runnerStartAutoscaler`, `runnerStopAutoscaler`, `runnerGetStatus`, `runnerListWorkflows`, `runnerProvisionForWorkflow`, `runnerListContainers`, `runnerStopContainer`",
        &[There(WRAPPERS, SENT, &[])],
    ),
    (
        "`p2pSubmitTask`, `p2pGetNextTask`, `p2pMarkTaskComplete`, `p2pUpdatePeerState`, `p2pSchedulerStatus`, `p2pCheckWorkflowTags`, `p2pGetMerkleClock`",
        &[There(WRAPPERS, SENT, &[])],
    ),
    (
        "`runner_set_config` and the other wrappers without a tool",
        &[There(
            MODULES,
            &["test('the types name every method and every tool is one that the node has'"],
            &["known.includes(name)", "does not name ${name}"],
        )],
    ),
    (
        "`status.data.active_runners`",
        &[There(DOCUMENTS, &["test('the dashboard of the document, against the node'"], &[])],
    ),
];
