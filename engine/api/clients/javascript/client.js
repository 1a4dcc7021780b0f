'use strict';

// A client of a wfengine node: calls tools by name over HTTP and reads live streams.
//
// This file is loaded in three ways: by require (index.cjs), by import in Node or a bundler (index.mjs), and by import
// in a browser without a bundler, where neither `module` nor `require` exists. It holds no state but an address and a
// token, and repeats nothing that may have been done.

// The variables and files of the host; null in a page.
const host = typeof module === 'object' && typeof require === 'function' ? require('#host') : null;

const URL_DEFAULT = 'http://127.0.0.1:8080';
const TIMEOUT_MS_DEFAULT = 30_000;
// The longest wait that timers know.
const TIMEOUT_MS_MAX = 0x7fffffff;
const NAME_LENGTH_MAX = 256;
// Runs that are asked for at once.
const PART_RUNS_MAX = 500;
// What a node takes as the body of one request.
const BODY_BYTES_MAX = 1024 * 1024;
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const PROBLEM_BYTES_MAX = 1024 * 1024;
const EVENT_BYTES_MAX = 1024 * 1024;
// What a message repeats of what others said.
const REASON_LENGTH_MAX = 500;

const LF = 10;
const CR = 13;

/** Why a call did not do what was asked. */
class WfengineError extends Error {
  constructor(message, { status = 0, kind = 'failure', candidates = [] } = {}) {
    super(message);
    /** The HTTP status; 0 where no answer came, where nothing was sent, and within a stream. */
    this.status = status;
    /** One word for programs, such as unknown, conflict, refused or unreachable. */
    this.kind = kind;
    /** Ids or names that may have been meant. */
    this.candidates = candidates;
  }
}
// of the class, as errors of the language have it
Object.defineProperty(WfengineError.prototype, 'name', {
  value: 'WfengineError',
  writable: true,
  configurable: true,
});

function badInput(message) {
  return new WfengineError(message, { kind: 'bad_input' });
}

/** An address without an end slash. What is wrong with it is told without repeating it: it may hold a secret. */
function checkedUrl(given, source) {
  const wrong = (what) => badInput(`${source}: ${what}; expected the address of a node, such as ${URL_DEFAULT}`);
  let url;
  try {
    url = new URL(String(given));
  } catch {
    throw wrong('this is no address');
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw wrong('only http: and https: are spoken');
  if (url.username || url.password || url.search || url.hash) {
    throw wrong('a user, a query or a fragment has no place in it; a token is given as token or WFENGINE_TOKEN');
  }
  return url.origin + url.pathname.replace(/\/+$/, '');
}

function checkedToken(given, source) {
  const text = typeof given === 'string' ? given.trim() : '';
  // what is not visible ASCII cannot stand in a header, and the refusal of the platform would print it
  if (!/^[\x21-\x7e]{1,4096}$/.test(text)) {
    throw badInput(`${source}: expected 1 to 4096 visible ASCII characters, as in the file http-token of a node`);
  }
  return text;
}

function checkedTimeout(given) {
  if (typeof given === 'number' && given > 0 && given <= TIMEOUT_MS_MAX) return given;
  throw badInput(`timeoutMs: expected milliseconds, more than 0 and at most ${TIMEOUT_MS_MAX}`);
}

/** A text as one segment of a path. */
function segment(what, given) {
  if (typeof given !== 'string' || given.length === 0 || given.length > NAME_LENGTH_MAX) {
    throw badInput(`${what}: expected a text of 1 to ${NAME_LENGTH_MAX} characters`);
  }
  // an address with these means another path, encoded or not
  if (given === '.' || given === '..') throw badInput(`${what}: ${given} names nothing`);
  try {
    return encodeURIComponent(given);
  } catch {
    throw badInput(`${what}: half of a surrogate pair stands in it`);
  }
}

function checkedObject(what, given) {
  if (given === undefined || given === null) return {};
  if (typeof given === 'object' && !Array.isArray(given)) return given;
  throw badInput(`${what}: expected an object, such as { id: 'a' }`);
}

/** Arguments in which one may have its older name. */
function renamed(what, given, older, name) {
  const { [older]: value, ...others } = checkedObject(what, given);
  if (value === undefined) return others;
  if (others[name] !== undefined) throw badInput(`${what}: ${older} is an older name of ${name}; give ${name} alone`);
  return { ...others, [name]: value };
}

function isLoopback(url) {
  const { hostname } = new URL(url);
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname);
}

/** What the platform says of a request that failed, from the innermost cause that says anything. */
function reasonOf(error) {
  let reason = '';
  for (let at = error, depth = 0; at && depth < 5; at = at.cause ?? at.errors?.[0], depth += 1) {
    reason = at.message || at.code || reason;
  }
  return String(reason || error);
}

function codeOf(error) {
  return error?.cause?.code ?? error?.cause?.errors?.[0]?.code ?? error?.code;
}

/** Ends a request when its caller says so or its time is up. */
class Bounds {
  #controller = new AbortController();
  #given;
  #timer;
  #stop = () => this.#controller.abort(this.#given.reason);
  isLate = false;

  constructor(signal, timeoutMs) {
    if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
      throw badInput('signal: expected an AbortSignal');
    }
    this.#given = signal;
    this.timeoutMs = timeoutMs;
    if (signal?.aborted) this.#stop();
    else signal?.addEventListener('abort', this.#stop, { once: true });
    if (timeoutMs === undefined) return;
    this.#timer = setTimeout(() => {
      this.isLate = true;
      this.#controller.abort();
    }, timeoutMs);
  }
  get signal() {
    return this.#controller.signal;
  }
  get isStopped() {
    return this.#given?.aborted === true;
  }
  get reason() {
    return this.#given.reason;
  }
  /** Lets go of the caller's signal and timer; a request that is still under way is given up. */
  end() {
    clearTimeout(this.#timer);
    this.#given?.removeEventListener('abort', this.#stop);
    this.#controller.abort();
  }
}

/** Server-sent events out of bytes that come in any pieces. */
class EventParser {
  // a byte order mark may begin the stream, not each line
  #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  #isFirstLine = true;
  #isAfterCr = false;
  #line = '';
  #lineBytes = 0;
  #name = '';
  #data = [];
  #dataBytes = 0;

  /** The events that these bytes complete. */
  *push(bytes) {
    let begin = 0;
    while (begin < bytes.length) {
      // the CR before ended the line already
      const isSecondHalf = this.#isAfterCr && bytes[begin] === LF;
      this.#isAfterCr = false;
      if (isSecondHalf) {
        begin += 1;
        continue;
      }
      let end = begin;
      while (end < bytes.length && bytes[end] !== LF && bytes[end] !== CR) end += 1;
      this.#take(bytes.subarray(begin, end));
      if (end === bytes.length) return;
      this.#isAfterCr = bytes[end] === CR;
      begin = end + 1;
      const event = this.#endLine();
      if (event) yield event;
    }
  }

  #take(piece) {
    this.#lineBytes += piece.length;
    if (this.#lineBytes + this.#dataBytes > EVENT_BYTES_MAX) {
      const what = `an event of the stream has more than ${EVENT_BYTES_MAX} bytes`;
      throw new WfengineError(`${what}: ask for the run by its id instead`, { kind: 'too_large' });
    }
    this.#line += this.#decoder.decode(piece, { stream: true });
  }

  #endLine() {
    let line = this.#line + this.#decoder.decode();
    const bytes = this.#lineBytes;
    this.#line = '';
    this.#lineBytes = 0;
    if (this.#isFirstLine && line.startsWith('\ufeff')) line = line.slice(1);
    this.#isFirstLine = false;
    if (line === '') return this.#endEvent();
    // a line that begins with a colon is a comment: its field has no name
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (field === 'event') this.#name = value;
    if (field === 'data') {
      this.#data.push(value);
      this.#dataBytes += bytes;
    }
    return undefined;
  }

  #endEvent() {
    const event = { name: this.#name, data: this.#data.join('\n') };
    const isEmpty = this.#data.length === 0;
    this.#name = '';
    this.#data = [];
    this.#dataBytes = 0;
    return isEmpty ? undefined : event;
  }
}

/** The text of an answer, as long as it is within bounds. */
async function textOf(response, bytesMax) {
  if (!response.body) return '';
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    bytes += value.length;
    if (bytes > bytesMax) {
      reader.cancel().catch(() => {});
      const what = `the answer has more than ${bytesMax} bytes`;
      throw new WfengineError(`${what}: ask for less, as with limit`, { kind: 'too_large' });
    }
    text += decoder.decode(value, { stream: true });
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A node, as programs ask it. */
class MCP {
  #url;
  #token;
  #fetch;
  #timeoutMs;

  constructor(options) {
    const { url, token, fetch, timeoutMs } = checkedObject('new MCP', options);
    const variable = (name) => host?.variable(name);
    const source = url === undefined ? 'WFENGINE_NODE' : 'url';
    this.#url = checkedUrl(url ?? variable('WFENGINE_NODE') ?? URL_DEFAULT, source);
    if (token !== undefined) this.#token = checkedToken(token, 'token');
    else if (variable('WFENGINE_TOKEN')) this.#token = checkedToken(variable('WFENGINE_TOKEN'), 'WFENGINE_TOKEN');
    if (fetch !== undefined && typeof fetch !== 'function') throw badInput('fetch: expected a function');
    if (this.#token !== undefined && this.#url.startsWith('http:') && !isLoopback(this.#url)) {
      const what = 'others on the network would read the token on its way; use https:, or a tunnel to this host';
      throw new WfengineError(`${source}: ${what}`, { kind: 'refused' });
    }
    this.#fetch = fetch;
    this.#timeoutMs = checkedTimeout(timeoutMs ?? TIMEOUT_MS_DEFAULT);
  }

  /** The node's address. */
  get url() {
    return this.#url;
  }

  // ---- requests

  /** The token; the one in this host's file is the secret of the node of this host and is sent to no other. */
  #secret() {
    if (this.#token === undefined && host && isLoopback(this.#url)) {
      const file = host.tokenFile();
      let text;
      try {
        text = host.tokenText(file);
      } catch (error) {
        const what = `the token in ${file} cannot be read: ${this.#reason(error)}`;
        throw new WfengineError(`${what}; give it as token or in WFENGINE_TOKEN`, { kind: 'refused' });
      }
      if (text?.trim()) this.#token = checkedToken(text, file);
    }
    return this.#token;
  }

  /** A text without the token, whoever put it there. */
  #clean(text) {
    return this.#token === undefined ? text : text.replaceAll(this.#token, '…');
  }

  /** What the platform says of a failure; it is cut last, so that no part of a token is left. */
  #reason(error) {
    return this.#clean(reasonOf(error)).slice(0, REASON_LENGTH_MAX);
  }

  #unreachable(where, what) {
    const here = host
      ? 'start a node with `wfengine serve`, or name another one with url or WFENGINE_NODE'
      : 'a node answers pages of the origins that `wfengine serve --http-origin ORIGIN` names';
    return new WfengineError(`${where}: ${what}; ${here}`, { kind: 'unreachable' });
  }

  /** What work gives; what the platform throws is told as what happened to the request. */
  async #guarded(where, bounds, work) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof WfengineError) throw error;
      if (bounds.isStopped) throw bounds.reason;
      if (bounds.isLate) {
        const what = `${where}: no answer within ${bounds.timeoutMs} ms`;
        const next = 'it may have been done all the same: look before asking again, or give a longer timeoutMs';
        throw new WfengineError(`${what}; ${next}`, { kind: 'timeout' });
      }
      throw this.#unreachable(where, this.#reason(error));
    }
  }

  async #fetched(path, init) {
    const fetch = this.#fetch ?? globalThis.fetch;
    if (typeof fetch !== 'function') throw badInput('fetch: there is none here; use Node 18 or later, or give one');
    try {
      return await fetch(this.#url + path, init);
    } catch (error) {
      const url = new URL(this.#url + path);
      // nothing was sent, so that asking again repeats nothing; Node 18 tries only the first address of this name,
      // which may be that of IPv6
      if (!host || url.hostname !== 'localhost' || codeOf(error) !== 'ECONNREFUSED') throw error;
      url.hostname = '127.0.0.1';
      return fetch(url.href, init);
    }
  }

  /** An answer that is not an error. */
  async #answered(method, path, body, accept, signal) {
    const headers = { accept };
    const secret = this.#secret();
    if (secret !== undefined) headers.authorization = `Bearer ${secret}`;
    if (body !== undefined) headers['content-type'] = 'application/json';
    // the token is for this address, not for one that it redirects to
    const init = { method, headers, body, signal, cache: 'no-store', credentials: 'omit', redirect: 'error' };
    const response = await this.#fetched(path, init);
    if (response.ok) return response;
    const { status } = response;
    const problem = parsed(await textOf(response, PROBLEM_BYTES_MAX));
    if (typeof problem?.detail !== 'string') {
      const what = `${method} ${this.#url}${path}: status ${status} without a word why`;
      throw new WfengineError(`${what}: is that a wfengine node?`, { status });
    }
    throw this.#told(problem, status);
  }

  /** An error as the node tells it. */
  #told(problem, status) {
    const candidates = Array.isArray(problem.candidates) ? problem.candidates : [];
    const how = host ? 'token, WFENGINE_TOKEN or the file http-token' : 'token';
    return new WfengineError(this.#clean(problem.detail) + (status === 401 ? ` (taken from ${how})` : ''), {
      status,
      kind: typeof problem.kind === 'string' ? this.#clean(problem.kind) : 'failure',
      candidates: candidates.filter((word) => typeof word === 'string').map((word) => this.#clean(word)),
    });
  }

  async #ask(method, path, body, options) {
    const { signal, timeoutMs } = checkedObject('options', options);
    const where = `${method} ${this.#url}${path}`;
    const bounds = new Bounds(signal, checkedTimeout(timeoutMs ?? this.#timeoutMs));
    try {
      return await this.#guarded(where, bounds, async () => {
        const response = await this.#answered(method, path, body, 'application/json', bounds.signal);
        const answer = parsed(await textOf(response, ANSWER_BYTES_MAX));
        if (answer !== undefined) return answer;
        const { status } = response;
        throw new WfengineError(`${where}: the answer is no JSON: is that a wfengine node?`, { status });
      });
    } finally {
      bounds.end();
    }
  }

  #listIn(answer, name) {
    if (Array.isArray(answer?.[name])) return answer[name];
    throw new WfengineError(`${this.#url}: the answer has no ${name}: is that a wfengine node?`, { status: 200 });
  }

  /** Items of a live stream; its end is returned. */
  async *#stream(path, options) {
    const { signal } = options;
    const where = `GET ${this.#url}${path}`;
    const bounds = new Bounds(signal);
    try {
      const reader = await this.#guarded(where, bounds, async () => {
        const response = await this.#answered('GET', path, undefined, 'text/event-stream', bounds.signal);
        const type = response.headers.get('content-type') ?? '';
        if (response.body && /^text\/event-stream\b/i.test(type)) return response.body.getReader();
        const { status } = response;
        throw new WfengineError(`${where}: the answer is no stream: is that a wfengine node?`, { status });
      });
      const parser = new EventParser();
      for (;;) {
        const { done, value } = await this.#guarded(where, bounds, () => reader.read());
        if (done) throw this.#unreachable(where, 'the stream broke off before its end');
        for (const { name, data } of parser.push(value)) {
          if (bounds.isStopped) throw bounds.reason;
          const document = parsed(data);
          if (name === 'error' && typeof document?.detail === 'string') throw this.#told(document, 0);
          // other names are for later versions
          if (!['item', 'end', 'error'].includes(name)) continue;
          if (document === undefined || name === 'error') {
            throw new WfengineError(`${where}: the stream holds what is not understood: is that a wfengine node?`);
          }
          if (name === 'end') return document;
          yield document;
        }
      }
    } finally {
      bounds.end();
    }
  }

  // ---- tools

  /** Calls a tool and resolves to its result object. */
  async callTool(name, args, options) {
    const path = `/api/v1/tools/${segment('name of the tool', name)}`;
    const given = checkedObject(`arguments of ${name}`, args);
    let body;
    try {
      body = JSON.stringify(given);
    } catch (error) {
      throw badInput(`arguments of ${name}: no JSON can be made of them: ${this.#reason(error)}`);
    }
    if (new TextEncoder().encode(body).length > BODY_BYTES_MAX) {
      const what = `arguments of ${name}: more than the ${BODY_BYTES_MAX} bytes that a node takes`;
      throw new WfengineError(what, { kind: 'too_large' });
    }
    return this.#ask('POST', path, body, options);
  }

  /** The same, under the name that older programs use. */
  async call_tool(name, args, options) {
    return this.callTool(name, args, options);
  }

  /** All tools with their descriptions and schemas. */
  async listTools(options) {
    return this.#listIn(await this.#ask('GET', '/api/v1/tools', undefined, options), 'tools');
  }

  // ---- runs

  /** Submits a workflow by its text. */
  async submit(workflow, options) {
    return this.callTool('submit_workflow', workflow, options);
  }

  /** One run with its jobs. */
  async run(id, options) {
    return this.callTool('get_run', { id }, options);
  }

  /** Runs, newest first: 50, or as many as `limit` says. */
  async runs(filter, options) {
    const given = checkedObject('filter', filter);
    const { limit = 50 } = given;
    if (!(Number.isSafeInteger(limit) && limit >= 1)) {
      throw badInput('limit: expected a whole number of 1 or more');
    }
    const found = [];
    let after = given.after;
    do {
      const wanted = { ...given, limit: Math.min(limit - found.length, PART_RUNS_MAX), after };
      const part = await this.callTool('list_runs', wanted, options);
      found.push(...this.#listIn(part, 'runs'));
      after = part.next;
    } while (after && found.length < limit);
    return found;
  }

  /** Cancels a run or task. */
  async cancel(id, reason, options) {
    return this.callTool('cancel_run', { id, reason }, options);
  }

  /** Events of the log from a place on, or from now on, until the iteration is left. */
  async *events(options) {
    const given = checkedObject('options', options);
    const { from } = given;
    if (from !== undefined && !(Number.isSafeInteger(from) && from >= 0)) {
      throw badInput('from: expected a place in the log, a whole number that is not negative');
    }
    yield* this.#stream(`/api/v1/live/events${from === undefined ? '' : `?from=${from}`}`, given);
  }

  /** What happens in a run until it has ended; the run as it ended is returned. */
  async *follow(runId, options) {
    const path = `/api/v1/live/runs/${segment('id of the run', runId)}`;
    return yield* this.#stream(path, checkedObject('options', options));
  }

  // ---- the autoscaler of GitHub runners

  async runnerStartAutoscaler(args, options) {
    const given = renamed('runnerStartAutoscaler', args, 'interval', 'poll_interval');
    return this.callTool('runner_start_autoscaler', given, options);
  }

  async runnerStopAutoscaler(args, options) {
    return this.callTool('runner_stop_autoscaler', args, options);
  }

  async runnerGetStatus(args, options) {
    return this.callTool('runner_get_status', args, options);
  }

  /** Older programs give an owner and a repository; the tool always answers for all, so that these are not sent. */
  async runnerListWorkflows(args, options) {
    const { owner: _owner, repo: _repo, ...others } = checkedObject('runnerListWorkflows', args);
    return this.callTool('runner_list_workflows', others, options);
  }

  async runnerProvisionForWorkflow(args, options) {
    const given = checkedObject('runnerProvisionForWorkflow', args);
    if (given.repo === undefined) {
      const why = 'a workflow_id or runner_type does not say for which repository';
      throw badInput(`runnerProvisionForWorkflow: repo is needed, such as { repo: "owner/name" }: ${why}`);
    }
    return this.callTool('runner_provision_for_workflow', given, options);
  }

  async runnerListContainers(args, options) {
    return this.callTool('runner_list_containers', args, options);
  }

  async runnerStopContainer(args, options) {
    const given = renamed('runnerStopContainer', args, 'container_id', 'container');
    return this.callTool('runner_stop_container', given, options);
  }

  // ---- the scheduler

  async p2pSubmitTask(args, options) {
    return this.callTool('p2p_submit_task', args, options);
  }

  async p2pGetNextTask(args, options) {
    return this.callTool('p2p_get_next_task', args, options);
  }

  async p2pMarkTaskComplete(args, options) {
    return this.callTool('p2p_mark_task_complete', args, options);
  }

  async p2pUpdatePeerState(args, options) {
    const given = renamed('p2pUpdatePeerState', args, 'state', 'clock_data');
    return this.callTool('p2p_update_peer_state', given, options);
  }

  async p2pSchedulerStatus(args, options) {
    return this.callTool('p2p_scheduler_status', args, options);
  }

  async p2pCheckWorkflowTags(args, options) {
    return this.callTool('p2p_check_workflow_tags', args, options);
  }

  async p2pGetMerkleClock(args, options) {
    return this.callTool('p2p_get_merkle_clock', args, options);
  }
}

MCP.MCP = MCP;
MCP.WfengineError = WfengineError;
MCP.default = MCP;

if (typeof module === 'object') module.exports = MCP;
else globalThis.wfengine = MCP;
