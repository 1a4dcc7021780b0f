'use strict';

// How the package is loaded and what is in it.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const util = require('node:util');
const { execFileSync } = require('node:child_process');
const { pathToFileURL } = require('node:url');
const { MCP, NODE, TOKEN, WfengineError } = require('./harness.cjs');

const PACKAGE = path.join(__dirname, '..');
const FILES = [
  'README.md',
  'client.js',
  'host-browser.cjs',
  'host-node.cjs',
  'index.cjs',
  'index.d.ts',
  'index.mjs',
  'package.json',
  'tool-results.d.ts',
];

function folder(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'wfengine-js-'));
  t.after(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

function npm(...given) {
  const options = { cwd: PACKAGE, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] };
  return execFileSync('npm', given, options);
}

/** What a program in a folder prints, as JSON. */
function printed(cwd, type, code) {
  const given = type === 'module' ? ['--input-type=module', '-e', code] : ['-e', code];
  return JSON.parse(execFileSync(process.execPath, given, { cwd, encoding: 'utf8' }));
}

test('require gives the class itself, with the other names on it', () => {
  assert.equal(typeof MCP, 'function');
  assert.equal(MCP.default, MCP);
  assert.equal(MCP.MCP, MCP);
  assert.equal(MCP.WfengineError, WfengineError);
  assert.ok(new WfengineError('x') instanceof Error);
});

test('import gives the same class, by its name and without', async () => {
  const imported = await import('wfengine');
  assert.equal(imported.default, MCP);
  assert.equal(imported.MCP, MCP);
  assert.equal(imported.WfengineError, WfengineError);
  assert.deepEqual(Object.keys(imported).sort(), ['MCP', 'WfengineError', 'default']);
});

test('npm pack lists exactly the files that are meant', () => {
  const [packed] = JSON.parse(npm('pack', '--dry-run', '--json', '--ignore-scripts'));
  assert.equal(packed.name, 'wfengine');
  assert.equal(packed.version, '0.1.0');
  assert.deepEqual(packed.files.map((file) => file.path).sort(), [...FILES].sort());
});

test('the packed package works where it is installed, in both module systems', (t) => {
  const project = folder(t);
  const [packed] = JSON.parse(npm('pack', '--json', '--ignore-scripts', '--pack-destination', project));
  const installed = path.join(project, 'node_modules', 'wfengine');
  fs.mkdirSync(installed, { recursive: true });
  const archive = path.join(project, path.basename(packed.filename));
  execFileSync('tar', ['-xzf', archive, '--strip-components=1', '-C', installed]);
  const ask = 'new MCP().call_tool("p2p_check_workflow_tags", { tags: ["p2p-only"] })'
    + '.then((answer) => console.log(JSON.stringify(answer.is_p2p_only)))';
  assert.equal(printed(project, 'commonjs', `const MCP = require('wfengine'); ${ask}`), true);
  assert.equal(printed(project, 'module', `import MCP from 'wfengine'; ${ask}`), true);
  const names = 'import * as all from "wfengine"; console.log(JSON.stringify(Object.keys(all)))';
  assert.deepEqual(printed(project, 'module', names), ['MCP', 'WfengineError', 'default']);
});

test('a browser without a bundler loads it too, and takes nothing from the host', async (t) => {
  const page = folder(t);
  // every file below is a module, as a browser has it: neither module nor require exists
  fs.writeFileSync(path.join(page, 'package.json'), '{"type":"module"}');
  for (const name of ['index.mjs', 'client.js']) fs.copyFileSync(path.join(PACKAGE, name), path.join(page, name));
  const loaded = await import(pathToFileURL(path.join(page, 'index.mjs')).href);
  t.after(() => delete globalThis.wfengine);
  assert.notEqual(loaded.default, MCP);
  assert.equal(loaded.WfengineError, loaded.default.WfengineError);
  assert.equal(new loaded.MCP().url, 'http://127.0.0.1:8080');

  const sent = [];
  const fetch = (url, init) => {
    sent.push(init.headers);
    return globalThis.fetch(url, init);
  };
  const { status } = await new loaded.MCP({ url: NODE, fetch }).listTools().catch((error) => error);
  assert.equal(status, 401);
  assert.equal(sent[0].authorization, undefined);
  assert.ok((await new loaded.MCP({ url: NODE, token: TOKEN, fetch }).listTools()).length > 30);
  assert.equal(sent[1].authorization, `Bearer ${TOKEN}`);
});

test('the types name every method and every tool is one that the node has', async () => {
  const types = fs.readFileSync(path.join(PACKAGE, 'index.d.ts'), 'utf8');
  const methods = Object.getOwnPropertyNames(MCP.prototype).filter((name) => name !== 'constructor');
  for (const name of methods) {
    const has = new RegExp(`^  (readonly )?${name}[<(:]`, 'm').test(types);
    assert.ok(has, `index.d.ts does not name ${name}`);
  }
  const results = fs.readFileSync(path.join(PACKAGE, 'tool-results.d.ts'), 'utf8').split('interface Results {')[1];
  const typed = [...results.matchAll(/^ {2}(\w+):/gm)].map((found) => found[1]);
  const known = (await new MCP().listTools()).map((tool) => tool.name);
  assert.ok(typed.length >= 30);
  assert.deepEqual(typed.filter((name) => !known.includes(name)), []);
});

test('printing a client prints no token', () => {
  const mcp = new MCP({ token: TOKEN });
  for (const text of [util.inspect(mcp, { depth: 9, showHidden: true }), JSON.stringify(mcp), String(mcp)]) {
    assert.ok(!text.includes(TOKEN), text);
  }
});
