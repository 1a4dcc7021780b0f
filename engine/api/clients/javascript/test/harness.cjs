'use strict';

// What the tests share: the node that they ask, and ways to see what is sent and to answer as nodes never do.

const assert = require('node:assert/strict');
const http = require('node:http');
const MCP = require('wfengine');

const { WfengineError } = MCP;

function required(name, what) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: it names ${what}`);
  return value;
}

const NODE = required('WFENGINE_NODE', 'the node to ask, such as http://127.0.0.1:8080').replace(/\/+$/, '');
const TOKEN = required('WFENGINE_TOKEN', 'its token, which stands in the file http-token of its data directory');

/** The client of the node, with every request that it sends. */
function recorded(options = {}) {
  const sent = [];
  const fetch = async (url, init) => {
    const { pathname, search } = new URL(url);
    sent.push({ path: pathname + search, body: init.body === undefined ? undefined : JSON.parse(init.body), init });
    return globalThis.fetch(url, init);
  };
  return { mcp: new MCP({ fetch, ...options }), sent };
}

/** A client that is answered by a function of what it sends. */
function answered(answer, options = {}) {
  const sent = [];
  const fetch = async (url, init) => {
    sent.push({ url, init });
    return answer(url, init);
  };
  const mcp = new MCP({ url: 'http://127.0.0.1:1', token: 'a-token-of-these-tests', fetch, ...options });
  return { mcp, sent };
}

function json(document, init = {}) {
  return new Response(JSON.stringify(document), { headers: { 'content-type': 'application/json' }, ...init });
}

/** What a promise is rejected with; anything but a WfengineError fails. */
async function failure(promise) {
  let given;
  try {
    given = await promise;
  } catch (error) {
    assert.ok(error instanceof WfengineError, `not a WfengineError: ${error?.stack ?? error}`);
    assert.equal(error.name, 'WfengineError');
    assert.ok(error.message.length > 0 && Array.isArray(error.candidates) && error.kind);
    return error;
  }
  return assert.fail(`it was not refused but gave ${JSON.stringify(given)}`);
}

/** What each of several promises is rejected with. */
function failures(...promises) {
  return Promise.all(promises.map(failure));
}

/** A server at a free port of this host for as long as a test takes. */
async function serving(test, handler) {
  const server = http.createServer(handler);
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/** Gives variables other values while a test takes; undefined takes one away. */
function variables(test, values) {
  const before = Object.fromEntries(Object.keys(values).map((name) => [name, process.env[name]]));
  const set = (all) => {
    for (const [name, value] of Object.entries(all)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  };
  set(values);
  test.after(() => set(before));
}

/** A name that no other test gives. */
function unique(what) {
  return `${what}-${process.pid}-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
}

module.exports = {
  MCP,
  NODE,
  TOKEN,
  WfengineError,
  answered,
  failure,
  failures,
  json,
  recorded,
  required,
  serving,
  unique,
  variables,
};
