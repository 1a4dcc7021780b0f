'use strict';

// A method for each tool of the older programs: what it sends, and what the node answers.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { MCP, WfengineError, answered, failure, json, recorded, unique } = require('./harness.cjs');

const tool = (name) => `/api/v1/tools/${name}`;

const START = 'runner_start_autoscaler';
const UPDATE = 'p2p_update_peer_state';
const CLOCK = { node_id: 'p', vector: { p: 1 } };

/** Methods with what they are given and what they send. */
const SENT = [
  ['runnerStartAutoscaler', { owner: 'o', poll_interval: 60 }, START, { owner: 'o', poll_interval: 60 }],
  ['runnerStartAutoscaler', { owner: 'o', interval: 60 }, START, { owner: 'o', poll_interval: 60 }],
  ['runnerStartAutoscaler', undefined, START, {}],
  ['runnerStopAutoscaler', undefined, 'runner_stop_autoscaler', {}],
  ['runnerGetStatus', {}, 'runner_get_status', {}],
  ['runnerListWorkflows', { owner: 'o', repo: 'r' }, 'runner_list_workflows', {}],
  ['runnerListWorkflows', undefined, 'runner_list_workflows', {}],
  ['runnerProvisionForWorkflow', { repo: 'o/r' }, 'runner_provision_for_workflow', { repo: 'o/r' }],
  ['runnerListContainers', {}, 'runner_list_containers', {}],
  ['runnerStopContainer', { container: 'abc' }, 'runner_stop_container', { container: 'abc' }],
  ['runnerStopContainer', { container_id: 'abc' }, 'runner_stop_container', { container: 'abc' }],
  ['p2pSubmitTask', { task_id: 't', tags: ['a'] }, 'p2p_submit_task', { task_id: 't', tags: ['a'] }],
  ['p2pGetNextTask', undefined, 'p2p_get_next_task', {}],
  ['p2pMarkTaskComplete', { task_id: 't' }, 'p2p_mark_task_complete', { task_id: 't' }],
  ['p2pUpdatePeerState', { peer_id: 'p', clock_data: CLOCK }, UPDATE, { peer_id: 'p', clock_data: CLOCK }],
  ['p2pUpdatePeerState', { peer_id: 'p', state: CLOCK }, UPDATE, { peer_id: 'p', clock_data: CLOCK }],
  ['p2pSchedulerStatus', null, 'p2p_scheduler_status', {}],
  ['p2pCheckWorkflowTags', { tags: [] }, 'p2p_check_workflow_tags', { tags: [] }],
  ['p2pGetMerkleClock', {}, 'p2p_get_merkle_clock', {}],
];

for (const [method, given, name, body] of SENT) {
  test(`${method}(${JSON.stringify(given) ?? ''}) asks ${name}`, async () => {
    const { mcp, sent } = answered(() => json({ success: true, of: name }));
    const before = JSON.stringify(given);
    assert.deepEqual(await mcp[method](given), { success: true, of: name });
    assert.equal(JSON.stringify(given), before, 'what the caller gave is left as it was');
    assert.equal(sent.length, 1);
    const { url, init } = sent[0];
    assert.equal(url, `http://127.0.0.1:1${tool(name)}`);
    assert.equal(init.method, 'POST');
    assert.deepEqual(JSON.parse(init.body), body);
    assert.equal(init.headers['content-type'], 'application/json');
    assert.equal(init.headers.authorization, 'Bearer a-token-of-these-tests');
  });
}

test('an argument under two names, or one that cannot be translated, is refused before anything is sent', async () => {
  const { mcp, sent } = answered(() => json({}));
  const refused = [
    [() => mcp.runnerStartAutoscaler({ interval: 1, poll_interval: 2 }), /poll_interval alone/],
    [() => mcp.runnerStopContainer({ container: 'a', container_id: 'b' }), /container alone/],
    [() => mcp.p2pUpdatePeerState({ peer_id: 'p', state: {}, clock_data: {} }), /clock_data alone/],
    [() => mcp.runnerProvisionForWorkflow({ workflow_id: 'w', runner_type: 'linux' }), /repo is needed/],
    [() => mcp.runnerProvisionForWorkflow(), /repo is needed/],
    [() => mcp.runnerListWorkflows('owner/repo'), /expected an object/],
    [() => mcp.runnerStopContainer(['abc']), /expected an object/],
    [() => mcp.callTool('runner_get_status', 'all'), /expected an object/],
    [() => mcp.callTool('', {}), /name of the tool/],
    [() => mcp.callTool('..', {}), /names nothing/],
    [() => mcp.callTool('a'.repeat(257), {}), /1 to 256/],
    [() => mcp.callTool(undefined, {}), /name of the tool/],
  ];
  for (const [ask, message] of refused) {
    const error = await failure(ask());
    assert.match(error.message, message);
    assert.equal(error.kind, 'bad_input');
    assert.equal(error.status, 0);
  }
  assert.deepEqual(sent, []);
});

test('arguments that the node does not know are refused by it, by name', async () => {
  const error = await failure(new MCP().runnerGetStatus({ nonsense: 1 }));
  assert.equal(error.status, 400);
  assert.equal(error.kind, 'bad_input');
  assert.match(error.message, /nonsense/);
});

test('the autoscaler and its runners at the node', async (t) => {
  const { mcp, sent } = recorded();
  t.after(() => mcp.runnerStopAutoscaler());
  const asked = [
    () => mcp.runnerStartAutoscaler({ owner: unique('owner'), interval: 600, max_runners: 1 }),
    () => mcp.runnerGetStatus(),
    () => mcp.runnerListWorkflows({ owner: 'o', repo: 'r' }),
    () => mcp.runnerListContainers(),
    () => mcp.runnerStopContainer({ container_id: 'abc123def456' }),
    () => mcp.runnerStopAutoscaler(),
  ];
  for (const ask of asked) {
    try {
      assert.equal((await ask()).success, true);
    } catch (error) {
      // the node has no credentials or no such container, and has understood what was asked
      assert.ok(error instanceof WfengineError, error);
      assert.notEqual(error.kind, 'bad_input', error.message);
      assert.ok(error.status >= 400 && error.message.length > 10);
    }
  }
  assert.equal(sent.length, asked.length);
  const { data } = await mcp.runnerGetStatus();
  assert.equal(typeof data.running, 'boolean');
  assert.equal(typeof data.active_runners, 'number');
});

test('a task from its submission to its result at the node', async () => {
  const mcp = new MCP();
  const [task_id, label] = [unique('task'), unique('label')];
  const task = { task_id, workflow_id: 'reports', name: 'Report', tags: ['p2p-only', label], priority: 9 };
  const submitted = await mcp.p2pSubmitTask({ ...task, metadata: { month: 7 } });
  assert.equal(submitted.success, true);
  assert.equal(submitted.task_id, task_id);
  assert.equal(submitted.priority, 9);
  assert.match(submitted.task_hash, /^[0-9a-f]{64}$/);
  assert.deepEqual(submitted.unknown_tags, [label]);
  assert.equal(submitted.tool, 'p2p_submit_task');

  const { task: taken } = await mcp.p2pGetNextTask({ tags: [label], lease_ms: 60_000 });
  assert.equal(taken.task_id, task_id);
  assert.equal(taken.task_hash, submitted.task_hash);
  assert.deepEqual(taken.metadata, { month: 7 });
  const none = await mcp.p2pGetNextTask({ tags: [label] });
  assert.equal(none.task, null);
  assert.equal(none.message, 'No tasks available');

  const { fencing_token } = taken;
  const completed = await mcp.p2pMarkTaskComplete({ task_id, fencing_token, result: { pages: 3 } });
  assert.deepEqual([completed.success, completed.task_id], [true, task_id]);
  const run = await mcp.run(task_id);
  assert.equal(run.status, 'completed');
  assert.deepEqual(run.jobs[0].result, { pages: 3 });
});

test('status, clock, tags and the state of a peer at the node', async () => {
  const mcp = new MCP();
  const status = await mcp.p2pSchedulerStatus();
  for (const name of ['pending_tasks', 'assigned_tasks', 'completed_tasks', 'queue_size', 'known_peers']) {
    assert.equal(typeof status[name], 'number', name);
  }
  const clock = await mcp.p2pGetMerkleClock();
  assert.equal(clock.node_id, status.peer_id);
  assert.match(clock.merkle_root, /^[0-9a-f]{64}$/);
  assert.ok(clock.vector[clock.node_id] > 0);

  const tags = await mcp.p2pCheckWorkflowTags({ tags: ['p2p-only', 'code-generation'] });
  assert.deepEqual([tags.should_bypass_github, tags.is_p2p_only], [true, true]);
  const plain = await mcp.p2pCheckWorkflowTags({ tags: ['unit-test', 'github-api'] });
  assert.deepEqual([plain.should_bypass_github, plain.is_p2p_only], [false, false]);

  const { node_id, vector, merkle_root } = clock;
  for (const name of ['clock_data', 'state']) {
    const updated = await mcp.p2pUpdatePeerState({ peer_id: node_id, [name]: { node_id, vector, merkle_root } });
    assert.equal(updated.success, true);
    assert.equal(updated.peer_id, node_id);
  }
});
