'use strict';

// The JavaScript of the older document, run as it stands there: only the package that it requires has another name.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { MCP, NODE, WfengineError, required, serving } = require('./harness.cjs');

const FOLDER = required('WFENGINE_DOCUMENTS', 'the folder that holds runner-autoscaling.md');
const TEXT = fs.readFileSync(path.join(FOLDER, 'runner-autoscaling.md'), 'utf8');

function blocks(language) {
  const fence = new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, 'gm');
  return [...TEXT.matchAll(fence)].map((found) => found[1]);
}

const [TOOLS, DASHBOARD] = blocks('javascript');
// the examples of output, in the order of the document
const [STATUS, WORKFLOWS, CONTAINERS] = blocks('json').map((text) => JSON.parse(text));

/** The calls of the first block with their arguments, in its order. */
const CALLS = [
  ['runner_start_autoscaler', { owner: 'myorg', poll_interval: 60, max_runners: 8, background: true }],
  ['runner_get_status', {}],
  ['runner_list_workflows', {}],
  ['runner_provision_for_workflow', { repo: 'owner/repo' }],
  ['runner_list_containers', {}],
  ['runner_stop_container', { container: 'abc123def456' }],
  ['runner_stop_autoscaler', {}],
];

/** Runs a block within an async function, with what a page and a program would have around it. */
async function executed(code, around) {
  const ours = code.replace("require('ipfs-accelerate-mcp-sdk')", "require('wfengine')");
  const names = Object.keys(around);
  const run = new Function(...names, `return (async () => {\n${ours}\n})();`);
  await run(...names.map((name) => around[name]));
}

/** A page with the elements that it is asked for, and a console that keeps what it is told. */
function page() {
  const elements = {};
  const said = [];
  const tables = [];
  const intervals = [];
  return {
    elements,
    said,
    tables,
    intervals,
    around: {
      require,
      console: { log: (...words) => said.push(words) },
      document: { getElementById: (id) => (elements[id] ??= { textContent: '' }) },
      renderWorkflowTable: (rows) => tables.push(rows),
      setInterval: (work, ms) => intervals.push({ work, ms }),
    },
  };
}

/** Sends what is meant for the document's address to another one while work is done, and lists what was asked. */
async function rerouted(to, work) {
  const { fetch } = globalThis;
  const asked = [];
  globalThis.fetch = (url, init) => {
    const { origin, pathname } = new URL(url);
    if (origin !== 'http://localhost:8080') return fetch(url, init);
    asked.push([pathname, JSON.parse(init.body)]);
    return fetch(to + pathname, init);
  };
  try {
    await work();
  } finally {
    globalThis.fetch = fetch;
  }
  return asked;
}

function hasFieldsOf(given, example) {
  for (const [name, value] of Object.entries(example)) {
    assert.ok(name in given, `${name} is missing in ${JSON.stringify(given)}`);
    if (given[name] !== null) assert.equal(typeof given[name], typeof value, name);
  }
}

/** What the document says that a tool answers. */
function isAsDocumented(name, result) {
  assert.equal(typeof result.success, 'boolean');
  if (name === 'runner_get_status') hasFieldsOf(result.data, STATUS);
  if (name === 'runner_list_workflows') for (const row of result.data) hasFieldsOf(row, WORKFLOWS[0]);
  if (name === 'runner_list_containers') for (const row of result.data) hasFieldsOf(row, CONTAINERS[0]);
  if (name.includes('list')) assert.ok(Array.isArray(result.data));
  if (name === 'runner_provision_for_workflow') assert.equal(result.data.repo, 'owner/repo');
}

/** An error of a node without Docker, credentials, runners: it names what is missing and what to do. */
function saysWhatIsMissing(error) {
  assert.ok(error instanceof WfengineError, `not a WfengineError: ${error?.stack ?? error}`);
  assert.ok(error.status >= 400, `not the node says so: ${error.message}`);
  const missing = /GitHub|Docker|no pool|no runner/i;
  assert.match(error.message, missing, `${error.status} ${error.kind}: it does not say what is missing`);
  assert.match(error.message, /`|GITHUB_TOKEN|--/, `${error.kind}: it does not say what to do`);
}

/** A node that has everything and answers as the document shows. */
function ideal(t) {
  const answers = {
    runner_start_autoscaler: { success: true, running: true, message: 'on' },
    runner_stop_autoscaler: { success: true, running: false, message: 'off' },
    runner_get_status: { success: true, data: STATUS },
    runner_list_workflows: { success: true, data: WORKFLOWS, count: WORKFLOWS.length },
    runner_provision_for_workflow: { success: true, data: { repo: 'owner/repo' }, message: 'started' },
    runner_list_containers: { success: true, data: CONTAINERS, count: CONTAINERS.length },
    runner_stop_container: { success: true, message: 'stopped' },
  };
  return serving(t, (request, response) => {
    const answer = answers[request.url.replace('/api/v1/tools/', '')];
    response.writeHead(answer ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer ?? {}));
  });
}

/** The autoscaler is off again, whatever the test turned on. */
function offAfter(t) {
  t.after(() => new MCP().runnerStopAutoscaler());
}

test('the document has the blocks that these tests know', () => {
  assert.equal(blocks('javascript').length, 2);
  assert.equal(blocks('json').length, 3);
  assert.equal(TOOLS.split("require('ipfs-accelerate-mcp-sdk')").length, 2);
  assert.ok(!DASHBOARD.includes('require('));
});

test('the tools as the document calls them, against the node', async (t) => {
  offAfter(t);
  const { around, said } = page();
  let missing;
  const asked = await rerouted(NODE, () => executed(TOOLS, around).catch((error) => (missing = error)));
  if (missing) {
    saysWhatIsMissing(missing);
  } else {
    assert.equal(asked.length, CALLS.length);
    hasFieldsOf(said[0][1], STATUS);
    assert.ok(Array.isArray(said[1][1]));
  }
  assert.ok(asked.length >= 1);
  assert.deepEqual(asked, CALLS.slice(0, asked.length).map(([name, args]) => [`/api/v1/tools/${name}`, args]));
});

for (const [name, args] of CALLS) {
  test(`${name} alone, as the document calls it, against the node`, async (t) => {
    offAfter(t);
    let result;
    try {
      result = await new MCP().call_tool(name, args);
    } catch (error) {
      saysWhatIsMissing(error);
      return;
    }
    isAsDocumented(name, result);
  });
}

test('the dashboard of the document, against the node', async () => {
  const { around, elements, intervals, tables } = page();
  await executed(DASHBOARD, { ...around, mcp: new MCP() });
  assert.deepEqual(intervals.map(({ ms }) => ms), [30000]);
  const status = await new MCP().call_tool('runner_get_status', {});
  try {
    await intervals[0].work();
    assert.equal(tables.length, 1);
    assert.ok(Array.isArray(tables[0]));
  } catch (error) {
    saysWhatIsMissing(error);
  }
  assert.equal(elements['active-runners'].textContent, status.data.active_runners);
  assert.equal(elements['queued-workflows'].textContent, status.data.queued_workflows);
});

test('both blocks run to their end where nothing is missing', async (t) => {
  const address = await ideal(t);
  const first = page();
  const asked = await rerouted(address, () => executed(TOOLS, first.around));
  assert.deepEqual(asked, CALLS.map(([name, args]) => [`/api/v1/tools/${name}`, args]));
  assert.deepEqual(first.said, [['Autoscaler status:', STATUS], ['Workflow queues:', WORKFLOWS]]);

  const second = page();
  await executed(DASHBOARD, { ...second.around, mcp: new MCP({ url: address }) });
  await second.intervals[0].work();
  assert.equal(second.elements['active-runners'].textContent, 3);
  assert.equal(second.elements['queued-workflows'].textContent, 5);
  assert.deepEqual(second.tables, [WORKFLOWS]);
});

test('the fields that the document shows are in the schemas of the node', async () => {
  const tools = new Map((await new MCP().listTools()).map((tool) => [tool.name, tool]));
  const has = (name, example, schema) => {
    assert.deepEqual(Object.keys(example).filter((field) => !(field in schema.properties)), [], name);
  };
  has('status', STATUS, tools.get('runner_get_status').output_schema.properties.data);
  has('queues', WORKFLOWS[0], tools.get('runner_list_workflows').output_schema.properties.data.items);
  has('containers', CONTAINERS[0], tools.get('runner_list_containers').output_schema.properties.data.items);
  for (const [name, args] of CALLS) has(name, args, tools.get(name).input_schema);
});
