'use strict';

// What is thrown when something is wrong, that it says what to do, and that the token stands in none of it.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const util = require('node:util');
const { MCP, NODE, answered, failure, failures, json, serving, unique, variables } = require('./harness.cjs');

const SECRET = 'a-token-of-these-tests';

function keeps(secret, error) {
  const all = util.inspect(error, { depth: 9, showHidden: true }) + error.stack + JSON.stringify(error);
  assert.ok(!all.includes(secret), all);
}

async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function folder(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'wfengine-js-'));
  t.after(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

// ---- errors of the node

test('401: another token, and none', async (t) => {
  const other = `not-${unique('token')}`;
  const error = await failure(new MCP({ token: other }).runnerGetStatus());
  assert.deepEqual([error.status, error.kind], [401, 'unauthorised']);
  assert.match(error.message, /token/);
  assert.match(error.message, /WFENGINE_TOKEN/);
  keeps(other, error);

  variables(t, { WFENGINE_TOKEN: undefined, WFENGINE_DATA_DIR: folder(t) });
  const none = await failure(new MCP({ url: NODE }).runnerGetStatus());
  assert.deepEqual([none.status, none.kind], [401, 'unauthorised']);
  assert.match(none.message, /wfengine status/);
});

test('404: a tool and a run that are not known, with what may have been meant', async () => {
  const mcp = new MCP();
  const tool = await failure(mcp.callTool('p2p_get_nxt_task', {}));
  assert.deepEqual([tool.status, tool.kind], [404, 'unknown']);
  assert.match(tool.message, /p2p_get_nxt_task/);
  assert.ok(tool.candidates.includes('p2p_get_next_task'), tool.candidates.join());

  const id = unique('nobody');
  const run = await failure(mcp.run(id));
  assert.deepEqual([run.status, run.kind], [404, 'unknown']);
  assert.ok(run.message.includes(id));
  const followed = await failure(mcp.follow(id).next());
  assert.deepEqual([followed.status, followed.kind], [404, 'unknown']);
});

test('409: a task that is done is not done again', async () => {
  const mcp = new MCP();
  const [task_id, label] = [unique('task'), unique('label')];
  await mcp.p2pSubmitTask({ task_id, workflow_id: 'w', name: 'n', tags: ['p2p-only', label] });
  await mcp.p2pGetNextTask({ tags: [label] });
  await mcp.p2pMarkTaskComplete({ task_id });
  const error = await failure(mcp.p2pMarkTaskComplete({ task_id }));
  assert.deepEqual([error.status, error.kind], [409, 'conflict']);
  assert.ok(error.message.includes(task_id));
});

// ---- no answer

test('nobody listens: the address and the command that helps', async () => {
  const url = `http://127.0.0.1:${await freePort()}`;
  const mcp = new MCP({ url, token: SECRET });
  const asked = [mcp.runnerGetStatus(), mcp.listTools(), mcp.events().next(), mcp.follow('abcd').next()];
  for (const error of await failures(...asked)) {
    assert.deepEqual([error.status, error.kind], [0, 'unreachable']);
    assert.ok(error.message.includes(url), error.message);
    assert.match(error.message, /ECONNREFUSED/);
    assert.match(error.message, /`wfengine serve`/);
    keeps(SECRET, error);
  }
});

test('an answer that does not come, and one that stops half way, end with the time given', async (t) => {
  const url = await serving(t, (request, response) => {
    if (request.method === 'GET') response.writeHead(200, { 'content-type': 'application/json' }).write('{"tools":');
  });
  const mcp = new MCP({ url, token: SECRET, timeoutMs: 80 });
  for (const error of await failures(mcp.runnerGetStatus(), mcp.listTools())) {
    assert.deepEqual([error.status, error.kind], [0, 'timeout']);
    assert.ok(error.message.includes(url) && error.message.includes('80 ms'), error.message);
  }
  const patient = new MCP({ url, token: SECRET });
  const error = await failure(patient.callTool('wait_for_run', { id: 'abcd' }, { timeoutMs: 30 }));
  assert.equal(error.kind, 'timeout');
});

test('an answer that breaks off', async (t) => {
  const url = await serving(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' });
    response.write('{"tools":', () => response.destroy());
  });
  const error = await failure(new MCP({ url, token: SECRET }).listTools());
  assert.deepEqual([error.status, error.kind], [0, 'unreachable']);
  assert.ok(error.message.includes(`${url}/api/v1/tools`));
});

test('a caller that gives up gets its own reason back', async (t) => {
  const url = await serving(t, () => {});
  const mcp = new MCP({ url, token: SECRET });
  const reason = new Error('no longer wanted');
  for (const ask of [(signal) => mcp.run('abcd', { signal }), (signal) => mcp.events({ signal }).next()]) {
    const stop = new AbortController();
    setTimeout(() => stop.abort(reason), 20);
    await assert.rejects(ask(stop.signal), (error) => error === reason);
    await assert.rejects(ask(AbortSignal.abort(reason)), (error) => error === reason);
  }
  await assert.rejects(mcp.run('abcd', { signal: AbortSignal.abort() }), { name: 'AbortError' });
});

test('localhost is tried at its other address where nobody was connected to', async () => {
  const refused = () => Object.assign(new TypeError('fetch failed'), { cause: { code: 'ECONNREFUSED' } });
  const { mcp, sent } = answered(
    (url) => {
      if (url.startsWith('http://localhost:')) throw refused();
      return json({ success: true });
    },
    { url: 'http://localhost:8080' },
  );
  assert.deepEqual(await mcp.runnerGetStatus(), { success: true });
  const path = '/api/v1/tools/runner_get_status';
  assert.deepEqual(sent.map(({ url }) => url), [`http://localhost:8080${path}`, `http://127.0.0.1:8080${path}`]);

  // what may have arrived is not sent again
  const broken = answered(() => { throw new TypeError('other side closed'); }, { url: 'http://localhost:8080' });
  assert.equal((await failure(broken.mcp.runnerGetStatus())).kind, 'unreachable');
  assert.equal(broken.sent.length, 1);
});

// ---- answers of something else

test('what is no node is told from one', async () => {
  const page = (status) => new Response('<html>Welcome</html>', { status, headers: { 'content-type': 'text/html' } });
  for (const status of [200, 404, 502]) {
    const { mcp } = answered(() => page(status));
    for (const error of await failures(mcp.runnerGetStatus(), mcp.listTools(), mcp.events().next())) {
      assert.equal(error.status, status);
      assert.match(error.message, /is that a wfengine node\?/);
    }
  }
  for (const document of [null, [], 'x', 7, { tools: 'none' }]) {
    const { mcp } = answered(() => json(document));
    assert.match((await failure(mcp.listTools())).message, /is that a wfengine node\?/);
    assert.match((await failure(mcp.runs())).message, /is that a wfengine node\?/);
  }
  // a problem document that is none
  const { mcp } = answered(() => json({ detail: ['x'], kind: 5 }, { status: 400 }));
  assert.equal((await failure(mcp.runnerGetStatus())).kind, 'failure');
  const odd = answered(() => json({ detail: 'x', kind: 5, candidates: ['a', 5, null] }, { status: 400 }));
  const error = await failure(odd.mcp.runnerGetStatus());
  assert.deepEqual([error.kind, error.candidates], ['failure', ['a']]);
});

test('a redirect is not followed: the token is for one address', async (t) => {
  const seen = [];
  const other = await serving(t, (request, response) => {
    seen.push(request.headers);
    response.end('{}');
  });
  const url = await serving(t, (request, response) => {
    response.writeHead(307, { location: `${other}${request.url}` }).end();
  });
  const mcp = new MCP({ url, token: SECRET });
  for (const error of await failures(mcp.runnerGetStatus(), mcp.listTools(), mcp.events().next())) {
    assert.ok(error.message.includes(url));
    keeps(SECRET, error);
  }
  assert.deepEqual(seen, []);
});

test('more than the bounds is neither sent nor taken', async () => {
  const sent = answered(() => json({}));
  const large = await failure(sent.mcp.submit({ path: 'a.yml', source: 'x'.repeat(1024 * 1024) }));
  assert.equal(large.kind, 'too_large');
  assert.equal(sent.sent.length, 0);

  const piece = new Uint8Array(1024 * 1024).fill(32);
  let pulled = 0;
  const endless = () => new Response(new ReadableStream({
    pull(controller) {
      pulled += 1;
      controller.enqueue(piece);
    },
  }));
  const error = await failure(answered(endless).mcp.listTools());
  assert.equal(error.kind, 'too_large');
  assert.ok(pulled < 70, `${pulled} MiB were taken`);

  const circle = {};
  circle.circle = circle;
  for (const given of [{ circle }, { big: 1n }]) {
    assert.equal((await failure(sent.mcp.callTool('submit_workflow', given))).kind, 'bad_input');
  }
});

// ---- the token

test('the token is taken from the option, the variable, and the file, in this order', async (t) => {
  const data = folder(t);
  fs.writeFileSync(path.join(data, 'http-token'), 'token-of-the-file\n');
  const given = async (options) => {
    const { mcp, sent } = answered(() => json({ tools: [] }), { token: undefined, ...options });
    await mcp.listTools();
    return sent[0].init.headers.authorization;
  };
  variables(t, { WFENGINE_TOKEN: 'token-of-the-variable', WFENGINE_DATA_DIR: data });
  assert.equal(await given({ token: 'token-of-the-option' }), 'Bearer token-of-the-option');
  assert.equal(await given({}), 'Bearer token-of-the-variable');
  delete process.env.WFENGINE_TOKEN;
  for (const url of ['http://127.0.0.1:1', 'http://localhost:8080', 'http://[::1]:8080']) {
    assert.equal(await given({ url }), 'Bearer token-of-the-file');
  }
  // the secret of this host's node is for no other host
  for (const url of ['http://node.example:8080', 'https://127.0.0.1.example', 'http://10.0.0.1:8080']) {
    assert.equal(await given({ url }), undefined);
  }
});

test('the file is looked for where the node has its data', async (t) => {
  const home = folder(t);
  const given = async () => {
    const { mcp, sent } = answered(() => json({ tools: [] }), { token: undefined });
    await mcp.listTools();
    return sent[0].init.headers.authorization;
  };
  const write = (text, ...parts) => {
    const file = path.join(home, ...parts, 'http-token');
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
    return file;
  };
  variables(t, { WFENGINE_TOKEN: undefined, WFENGINE_DATA_DIR: undefined, XDG_DATA_HOME: undefined, HOME: home });
  assert.equal(await given(), undefined);
  write('of-the-home', '.local', 'share', 'wfengine');
  assert.equal(await given(), 'Bearer of-the-home');
  process.env.XDG_DATA_HOME = 'relative';
  assert.equal(await given(), 'Bearer of-the-home');
  process.env.XDG_DATA_HOME = path.join(home, 'xdg');
  write('of-xdg', 'xdg', 'wfengine');
  assert.equal(await given(), 'Bearer of-xdg');
  process.env.WFENGINE_DATA_DIR = path.join(home, 'data');
  assert.equal(await given(), undefined);
  const file = write('', 'data');
  assert.equal(await given(), undefined, 'an empty file holds no token');

  fs.writeFileSync(file, 'x'.repeat(5000));
  const { mcp } = answered(() => json({ tools: [] }), { token: undefined });
  const long = await failure(mcp.listTools());
  assert.ok(long.message.includes(file) && long.message.includes('WFENGINE_TOKEN'), long.message);
  fs.rmSync(file);
  fs.mkdirSync(file);
  assert.equal((await failure(mcp.listTools())).kind, 'refused');
  fs.rmdirSync(file);
  fs.writeFileSync(file, 'two words');
  const words = await failure(mcp.listTools());
  assert.ok(words.message.includes(file) && !words.message.includes('two words'), words.message);
});

test('a token or an address that cannot be used is refused without being repeated', () => {
  const wrong = [
    { token: `${SECRET}\r\nhost: other` },
    { token: `${SECRET}…` },
    { token: SECRET.repeat(300) },
    { url: `http://user:${SECRET}@127.0.0.1:8080` },
    { url: `http://127.0.0.1:8080/?token=${SECRET}` },
    { url: `http://127.0.0.1:8080/#${SECRET}` },
    { url: `file:///${SECRET}` },
    { url: `${SECRET} is no address` },
    { url: '' },
    { token: '' },
    { token: 5 },
    { timeoutMs: 0 },
    { timeoutMs: -1 },
    { timeoutMs: Number.NaN },
    { timeoutMs: 2 ** 31 },
    { timeoutMs: '5' },
    { fetch: 'fetch' },
  ];
  for (const options of wrong) {
    assert.throws(() => new MCP(options), (error) => {
      keeps(SECRET, error);
      assert.ok(error instanceof MCP.WfengineError);
      assert.equal(error.kind, 'bad_input');
      assert.ok(error.message.startsWith(`${Object.keys(options)[0]}: expected`) || options.url !== undefined);
      return true;
    });
  }
  // a token goes nowhere in clear text
  assert.throws(() => new MCP({ url: 'http://node.example.org:8080', token: SECRET }), (error) => {
    keeps(SECRET, error);
    assert.equal(error.kind, 'refused');
    return true;
  });
  assert.equal(new MCP({ url: 'https://node.example.org', token: SECRET }).url, 'https://node.example.org');
});

test('a token that others repeat is taken out of what they say', async () => {
  const said = { detail: `Bearer ${SECRET} is wrong`, kind: `x-${SECRET}`, candidates: [SECRET] };
  const problem = await failure(answered(() => json(said, { status: 401 })).mcp.runnerGetStatus());
  keeps(SECRET, problem);
  assert.match(problem.message, /Bearer … is wrong/);

  const stream = `event: error\ndata: ${JSON.stringify(said)}\n\n`;
  const sse = () => new Response(stream, { headers: { 'content-type': 'text/event-stream' } });
  keeps(SECRET, await failure(answered(sse).mcp.events().next()));

  const thrown = () => {
    throw new TypeError('fetch failed', { cause: new Error(`authorization: Bearer ${SECRET}`) });
  };
  keeps(SECRET, await failure(answered(thrown).mcp.runnerGetStatus()));
  const padded = () => {
    throw new Error(`${'x'.repeat(490)}${SECRET}`);
  };
  const error = await failure(answered(padded).mcp.runnerGetStatus());
  assert.ok(!error.message.includes(SECRET.slice(0, 8)), error.message);
});

test('the address comes from the option, then from WFENGINE_NODE, then it is the usual one', (t) => {
  variables(t, { WFENGINE_NODE: 'http://127.0.0.1:1234/' });
  assert.equal(new MCP({ url: 'https://node.example/below/' }).url, 'https://node.example/below');
  assert.equal(new MCP({ url: new URL('http://localhost:8080') }).url, 'http://localhost:8080');
  assert.equal(new MCP().url, 'http://127.0.0.1:1234');
  process.env.WFENGINE_NODE = '';
  assert.equal(new MCP().url, 'http://127.0.0.1:8080');
  process.env.WFENGINE_NODE = 'nowhere';
  assert.throws(() => new MCP(), /WFENGINE_NODE: .*such as http:\/\/127\.0\.0\.1:8080/);
});

test('a node behind a path is asked below it', async () => {
  const { mcp, sent } = answered(() => json({ success: true }), { url: 'https://node.example/below/' });
  await mcp.runnerGetStatus();
  assert.equal(sent[0].url, 'https://node.example/below/api/v1/tools/runner_get_status');
});
