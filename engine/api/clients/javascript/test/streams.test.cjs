'use strict';

// Server-sent events in every form that the standard allows, in pieces that end anywhere.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { answered, failure } = require('./harness.cjs');

const MIB = 1024 * 1024;
const bytes = (text) => new TextEncoder().encode(text);

/** A client whose streams consist of these pieces; `state` says whether it let go of them. */
function streaming(pieces, { type = 'text/event-stream', stays = false } = {}) {
  const state = { cancelled: false, pulled: 0 };
  const from = pieces[Symbol.iterator]();
  const answer = (_url, init) => {
    const body = new ReadableStream({
      start: (controller) => {
        init.signal.addEventListener('abort', () => {
          state.cancelled = true;
          controller.error(init.signal.reason);
        });
      },
      pull: (controller) => {
        const { done, value } = from.next();
        if (!done) {
          state.pulled += value.length;
          controller.enqueue(value);
        } else if (!stays) {
          controller.close();
        }
      },
    }, { highWaterMark: 0 });
    return new Response(body, { headers: { 'content-type': type } });
  };
  return { ...answered(answer), state };
}

/** All items, and how it ended: with what was returned or thrown. */
async function collected(iterator) {
  const items = [];
  try {
    for (;;) {
      const { done, value } = await iterator.next();
      if (done) return { items, end: value };
      items.push(value);
    }
  } catch (error) {
    return { items, error };
  }
}

function* cut(all, size) {
  for (let at = 0; at < all.length; at += size) yield all.subarray(at, at + size);
}

/** Every kind of line end, field and comment, and letters of one to four bytes. */
const EVERYTHING = bytes([
  '\ufeffevent: item\ndata: {"n":0}\n\n: a comment\n\n',
  'event: item\ndata: {"n":1}\n\n',
  'event:item\r\ndata:{"n":2}\r\n\r\n',
  'data: {"n":3}\revent: item\r\r',
  'event: item\rdata: {"n":\rdata: 4,\rdata\rdata:  "lines": true}\r\r\n',
  ':\r\n\r\n: keep\n:alive\r\r',
  'event: item\nid: 7\nretry: 10\nnonsense: x\nnonsense\ndata: {"n":5,"text":"ä€𝄞 data: x"}\nevent: item\n\n',
  'event: item\n\n',
  'data: {"n":"of no name"}\n\n',
  'event: later\ndata: not of this version\n\n',
  'event: other\nevent: item\r\ndata: {"n":6}\r\n\n',
  'event: item\n\ufeffevent: other\ndata: {"n":7}\n\n',
  'event: end\r\ndata: {"done":true}\r\n\r\n',
  'event: item\ndata: {"n":"after the end"}\n\n',
].join(''));
const ITEMS = [
  { n: 0 },
  { n: 1 },
  { n: 2 },
  { n: 3 },
  { n: 4, lines: true },
  { n: 5, text: 'ä€𝄞 data: x' },
  { n: 6 },
  { n: 7 },
];

async function isEverything(pieces, how) {
  const { items, end, error } = await collected(streaming(pieces).mcp.follow('abcd'));
  assert.equal(error, undefined, `${how}: ${error?.stack}`);
  assert.deepEqual(items, ITEMS, how);
  assert.deepEqual(end, { done: true }, how);
}

test('every form of an event, in pieces of every size', async () => {
  for (let size = 1; size <= EVERYTHING.length; size += 1) {
    await isEverything(cut(EVERYTHING, size), `pieces of ${size}`);
  }
});

test('every form of an event, cut in two at every place', async () => {
  for (let at = 0; at <= EVERYTHING.length; at += 1) {
    await isEverything([EVERYTHING.subarray(0, at), EVERYTHING.subarray(at)], `cut at ${at}`);
  }
});

test('every form of an event, in pieces of sizes without a pattern, some empty', async () => {
  // a generator of our own, so that a failure comes again
  let seed = 20260101;
  const next = (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  for (let round = 0; round < 300; round += 1) {
    const pieces = [];
    for (let at = 0; at < EVERYTHING.length; ) {
      const size = next(9);
      pieces.push(EVERYTHING.subarray(at, at + size));
      at += size;
    }
    await isEverything(pieces, `round ${round}`);
  }
});

test('a stream that breaks off is an error, and half an event is none', async () => {
  for (const rest of ['', 'event: item\ndata: {"n":2}\n', 'event: item\ndata: {"n":2}', ': comment\n\n']) {
    const { mcp } = streaming([bytes(`event: item\ndata: {"n":1}\n\n${rest}`)]);
    const { items, error } = await collected(mcp.events());
    assert.deepEqual(items, [{ n: 1 }]);
    assert.deepEqual([error.name, error.kind, error.status], ['WfengineError', 'unreachable', 0]);
    assert.match(error.message, /broke off/);
  }
});

test('an error in a stream is thrown as the node tells it, after the items before', async () => {
  const said = { kind: 'unknown', detail: 'there is no run x', candidates: ['xy'] };
  const { mcp, state } = streaming([bytes(`event: item\ndata: 1\n\nevent: error\ndata: ${JSON.stringify(said)}\n\n`)]);
  const { items, error } = await collected(mcp.follow('x'));
  assert.deepEqual(items, [1]);
  assert.deepEqual([error.message, error.kind, error.status, error.candidates], [said.detail, 'unknown', 0, ['xy']]);
  assert.equal(state.cancelled, true);
});

test('what is not understood is an error', async () => {
  for (const text of ['event: item\ndata: {\n\n', 'event: error\ndata: {}\n\n', 'event: end\ndata:\n\n']) {
    const error = await failure(streaming([bytes(text)]).mcp.events().next());
    assert.match(error.message, /is that a wfengine node\?/);
  }
  const error = await failure(streaming([bytes('{}')], { type: 'application/json' }).mcp.events().next());
  assert.match(error.message, /is no stream/);
});

test('an event may have 1 MiB, whatever its pieces, and not more', async () => {
  const sized = (length) => `event: item\ndata: "${'ä'.repeat((length - 'data: ""'.length) / 2)}"\n\n`;
  const last = 'event: end\ndata: null\n\n';
  for (const size of [MIB, 65_537]) {
    const { items, end } = await collected(streaming(cut(bytes(sized(MIB) + sized(MIB) + last), size)).mcp.events());
    assert.equal(items.length, 2);
    assert.equal(items[1].length, (MIB - 8) / 2);
    assert.equal(end, undefined);
  }
  const before = 'event: item\ndata: 1\n\n';
  const large = [
    before + sized(MIB + 2) + last,
    before + 'data: 12345678\n'.repeat(MIB / 8) + last,
    `${before}data:\n${'data\n'.repeat(MIB / 3)}\n${last}`,
  ];
  for (const text of large) {
    const { items, error } = await collected(streaming(cut(bytes(text), 65_536)).mcp.events());
    assert.deepEqual(items, [1]);
    assert.deepEqual([error.kind, error.status], ['too_large', 0]);
    assert.match(error.message, /1048576 bytes/);
  }
});

test('a line that never ends is not waited for', async () => {
  const piece = bytes('x'.repeat(1000));
  function* endless() {
    for (;;) yield piece;
  }
  const { mcp, state } = streaming(endless());
  assert.equal((await failure(mcp.events().next())).kind, 'too_large');
  assert.ok(state.pulled < 1.1 * MIB, `${state.pulled} bytes were taken`);
  assert.equal(state.cancelled, true);
});

test('signs of life may go on for ever, and fields without a meaning too', async () => {
  const many = Array(3000).fill(bytes(`: ${'still here '.repeat(100)}\r\nid: ${'7'.repeat(100)}\r\n`));
  const { mcp } = streaming([...many, bytes('event: item\ndata: 1\n\nevent: end\ndata: 2\n\n')]);
  assert.deepEqual(await collected(mcp.follow('abcd')), { items: [1], end: 2 });
});

test('leaving the loop lets go of the request', async () => {
  const { mcp, state } = streaming([bytes('event: item\ndata: 1\n\nevent: item\ndata: 2\n\n')], { stays: true });
  for await (const item of mcp.events()) {
    assert.equal(item, 1);
    break;
  }
  assert.equal(state.cancelled, true);

  const thrown = new Error('of the loop');
  const again = streaming([bytes('event: item\ndata: 1\n\n')], { stays: true });
  const work = async () => {
    for await (const item of again.mcp.events()) throw Object.assign(thrown, { item });
  };
  await assert.rejects(work(), (error) => error === thrown);
  assert.equal(again.state.cancelled, true);
});

test('the reason of a signal is thrown, also between two events that came together', async () => {
  const reason = new Error('enough');
  const stop = new AbortController();
  const { mcp, state } = streaming([bytes('event: item\ndata: 1\n\nevent: item\ndata: 2\n\n')], { stays: true });
  const events = mcp.events({ signal: stop.signal });
  assert.deepEqual(await events.next(), { done: false, value: 1 });
  stop.abort(reason);
  await assert.rejects(events.next(), (error) => error === reason);
  assert.equal(state.cancelled, true);
  assert.deepEqual(await events.next(), { done: true, value: undefined });

  const later = new AbortController();
  const waiting = streaming([bytes('event: item\ndata: 1\n\n')], { stays: true });
  const items = waiting.mcp.events({ signal: later.signal });
  await items.next();
  setTimeout(() => later.abort(reason), 20);
  await assert.rejects(items.next(), (error) => error === reason);
});

test('what is asked for: the place, the run, and nothing else in the address', async () => {
  const asked = async (open) => {
    const { mcp, sent } = streaming([bytes('event: end\ndata: null\n\n')]);
    await collected(open(mcp));
    assert.equal(sent[0].init.method, 'GET');
    assert.equal(sent[0].init.headers.accept, 'text/event-stream');
    assert.equal(sent[0].init.headers.authorization, 'Bearer a-token-of-these-tests');
    return sent[0].url.slice('http://127.0.0.1:1/api/v1/live/'.length);
  };
  assert.equal(await asked((mcp) => mcp.events()), 'events');
  assert.equal(await asked((mcp) => mcp.events({ from: 0 })), 'events?from=0');
  assert.equal(await asked((mcp) => mcp.events({ from: 12 })), 'events?from=12');
  assert.equal(await asked((mcp) => mcp.follow('a/../b?c#d é')), 'runs/a%2F..%2Fb%3Fc%23d%20%C3%A9');

  const { mcp, sent } = streaming([]);
  const wrong = [
    mcp.events({ from: -1 }),
    mcp.events({ from: 1.5 }),
    mcp.events({ from: '1' }),
    mcp.events({ signal: 'stop' }),
    mcp.follow(''),
    mcp.follow('..'),
    mcp.follow(undefined),
    mcp.follow('\ud800'),
    mcp.follow('x'.repeat(257)),
  ];
  for (const iterator of wrong) assert.equal((await failure(iterator.next())).kind, 'bad_input');
  assert.equal(sent.length, 0);
});
