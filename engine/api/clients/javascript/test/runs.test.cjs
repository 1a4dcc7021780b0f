'use strict';

// Runs from their submission to their end, and the log, at the node.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { MCP, failure, unique } = require('./harness.cjs');

const LIMIT = { timeout: 60_000 };

function workflow(...lines) {
  const steps = lines.map((line) => `      - run: ${line}`).join('\n');
  return `on: workflow_dispatch\njobs:\n  one:\n    runs-on: []\n    steps:\n${steps}\n`;
}

/** All items of a run and the run as it ended. */
async function followed(mcp, id) {
  const items = [];
  const iterator = mcp.follow(id, { signal: AbortSignal.timeout(50_000) });
  for (;;) {
    const { done, value } = await iterator.next();
    if (done) return { items, run: value };
    items.push(value);
  }
}

test('a run is followed to its end', LIMIT, async () => {
  const mcp = new MCP();
  const [path, word] = [`${unique('path')}.yml`, unique('word')];
  const { run, already_so } = await mcp.submit({ path, source: workflow(`echo ${word}`, 'sleep 0.3; echo done') });
  assert.equal(already_so, false);
  assert.equal(run.path, path);
  const { items, run: ended } = await followed(mcp, run.id);
  const lines = items.filter((item) => item.what === 'line' && item.stream === 'out').map((item) => item.text);
  assert.ok(lines.includes(word) && lines.includes('done'), JSON.stringify(items));
  assert.ok(items.some((item) => item.what === 'job_ended' && item.conclusion === 'success'));
  assert.deepEqual([ended.id, ended.status, ended.jobs[0].conclusion], [run.id, 'completed', 'success']);
  assert.deepEqual(await mcp.run(run.id), ended);
  // one that has ended is told once more
  assert.equal((await followed(mcp, run.id)).run.status, 'completed');
});

test('a run that fails ends as failed, and not with an error', LIMIT, async () => {
  const mcp = new MCP();
  const { run } = await mcp.submit({ path: 'fails.yml', source: workflow('exit 3') });
  assert.equal((await followed(mcp, run.id)).run.status, 'failed');
});

test('inputs, priority and id are taken, and an id is submitted once', LIMIT, async () => {
  const mcp = new MCP();
  const id = unique('id');
  const inputs = 'workflow_dispatch:\n    inputs:\n      level:\n        type: string';
  const source = workflow('echo level=${{ inputs.level }}').replace('on: workflow_dispatch', `on:\n  ${inputs}`);
  const wanted = { path: 'inputs.yml', source, inputs: { level: 'debug' }, priority: 2.5, id };
  const { run } = await mcp.submit(wanted);
  assert.deepEqual([run.given_id, run.priority, run.inputs], [id, 2.5, { level: 'debug' }]);
  const again = await mcp.submit(wanted);
  assert.deepEqual([again.already_so, again.run.id], [true, run.id]);
  const { items } = await followed(mcp, id);
  assert.ok(items.some((item) => item.text === 'level=debug'), JSON.stringify(items));
  assert.equal((await mcp.run(id)).id, run.id);
});

test('runs are listed and filtered', LIMIT, async () => {
  const mcp = new MCP();
  const label = unique('label');
  const task = { workflow_id: 'w', name: 'n', tags: ['p2p-only', label] };
  for (const task_id of [unique('first'), unique('second')]) await mcp.p2pSubmitTask({ ...task, task_id });
  const found = await mcp.runs({ tag: label });
  assert.equal(found.length, 2);
  assert.ok(found.every((run) => run.kind === 'task' && run.status === 'pending'));
  assert.equal((await mcp.runs({ tag: label, limit: 1 })).length, 1);
  assert.deepEqual(await mcp.runs({ tag: label, status: 'completed' }), []);
  assert.ok(Array.isArray(await mcp.runs()));
  const error = await failure(mcp.runs({ status: 'no such word' }));
  assert.equal(error.kind, 'bad_input');
  for (const run of found) await mcp.cancel(run.id);
});

test('a run is cancelled, with the reason for others to read', LIMIT, async () => {
  const mcp = new MCP();
  const { run } = await mcp.submit({ path: 'long.yml', source: workflow('sleep 40') });
  const waiting = followed(mcp, run.id);
  const reason = unique('reason');
  await mcp.cancel(run.id, reason);
  const { run: ended } = await waiting;
  assert.equal(ended.status, 'cancelled');
  assert.ok(JSON.stringify(ended).includes(reason), ended.reason);
});

test('a workflow that cannot be run is refused with what is wrong in it', async () => {
  const error = await failure(new MCP().submit({ path: 'wrong.yml', source: 'jobs: 5' }));
  assert.equal(error.status, 400);
  assert.match(error.message, /wrong\.yml|jobs/);
  assert.equal((await failure(new MCP().submit({ path: 'nothing.yml' }))).kind, 'bad_input');
});

test('events of the log from its beginning on, in its order', LIMIT, async () => {
  const mcp = new MCP();
  const kinds = [];
  for await (const event of mcp.events({ from: 0 })) {
    assert.match(event.id, /^[0-9a-f]{64}$/);
    kinds.push(event.kind);
    if (kinds.length === 2) break;
  }
  const second = [];
  for await (const event of mcp.events({ from: 1 })) {
    second.push(event.kind);
    break;
  }
  assert.deepEqual(second, kinds.slice(1));
});

test('events from now on, until the signal', LIMIT, async () => {
  const mcp = new MCP();
  const stop = new AbortController();
  const task_id = unique('task');
  const events = mcp.events({ signal: stop.signal });
  const first = events.next();
  // the stream begins with the first question; tasks are submitted until it has begun
  let submitted = 0;
  let seen;
  first.then((found) => (seen = found.value));
  while (!seen) {
    await mcp.p2pSubmitTask({ task_id: `${task_id}-${submitted}`, workflow_id: 'w', name: 'n', tags: ['p2p-only'] });
    submitted += 1;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const reason = new Error('seen');
  const waiting = (async () => {
    for await (const event of events) assert.ok(event.kind);
  })();
  stop.abort(reason);
  await assert.rejects(waiting, (error) => error === reason);
  for (let n = 0; n < submitted; n += 1) await mcp.cancel(`${task_id}-${n}`, 'the test is over');
});

test('tools are listed with their schemas, and another name for a call is the same call', async () => {
  const mcp = new MCP();
  const tools = await mcp.listTools();
  const names = tools.map((tool) => tool.name);
  assert.ok(['runner_get_status', 'p2p_submit_task', 'submit_workflow'].every((name) => names.includes(name)));
  assert.ok(tools.every((tool) => tool.description && tool.input_schema && tool.output_schema));
  const [one, other] = await Promise.all([
    mcp.call_tool('p2p_check_workflow_tags', { tags: ['p2p-only'] }),
    mcp.callTool('p2p_check_workflow_tags', { tags: ['p2p-only'] }),
  ]);
  assert.deepEqual({ ...one, timestamp: 0 }, { ...other, timestamp: 0 });
});
