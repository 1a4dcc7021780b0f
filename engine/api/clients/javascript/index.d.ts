// Types of the client. Fields are as a node of the same version answers them; later versions may add some.

import * as ToolResults from './tool-results.js';

/** A node, as programs ask it. */
declare class MCP {
  /** Everything may be left out: a node of this host answers at the default address and keeps its token in a file. */
  constructor(options?: MCP.Options);

  /** The node's address, without an end slash. */
  readonly url: string;

  /** Calls a tool and resolves to its result object. */
  callTool<Name extends keyof ToolResults.Results>(
    name: Name,
    args?: MCP.Arguments,
    options?: MCP.CallOptions,
  ): Promise<ToolResults.Results[Name]>;
  callTool<T = Record<string, unknown>>(name: string, args?: MCP.Arguments, options?: MCP.CallOptions): Promise<T>;

  /** The same, under the name that older programs use. */
  call_tool: MCP['callTool'];

  /** All tools with their descriptions and schemas. */
  listTools(options?: MCP.CallOptions): Promise<MCP.Tool[]>;

  /** Submits a workflow by its text. */
  submit(workflow: MCP.Workflow, options?: MCP.CallOptions): Promise<MCP.Submitted>;
  /** One run with its jobs, by its id, a unique beginning of it, or the id given at submission. */
  run(id: string, options?: MCP.CallOptions): Promise<MCP.Run>;
  /** Runs, newest first. */
  runs(filter?: MCP.RunFilter, options?: MCP.CallOptions): Promise<MCP.Run[]>;
  /** Cancels a run or task; the reason is for others to read. */
  cancel(id: string, reason?: string, options?: MCP.CallOptions): Promise<MCP.Run>;

  /** Events of the log from a place on, or from now on, until the iteration is left. */
  events(options?: MCP.EventOptions): AsyncGenerator<MCP.Event, void, void>;
  /** What happens in a run until it has ended; the run as it ended is returned. */
  follow(runId: string, options?: MCP.StreamOptions): AsyncGenerator<MCP.Progress, MCP.Run, void>;

  /** `interval` is an older name of `poll_interval`. */
  runnerStartAutoscaler(
    args?: {
      owner?: string | null;
      poll_interval?: number;
      interval?: number;
      max_runners?: number;
      runner_image?: string | null;
      background?: boolean;
    },
    options?: MCP.CallOptions,
  ): Promise<ToolResults.RunnerStarted>;
  runnerStopAutoscaler(args?: MCP.Nothing, options?: MCP.CallOptions): Promise<ToolResults.RunnerStopped>;
  runnerGetStatus(args?: MCP.Nothing, options?: MCP.CallOptions): Promise<ToolResults.RunnerStatusAnswer>;
  /** `owner` and `repo` of older programs are taken and not sent: the answer is for all. */
  runnerListWorkflows(
    args?: { owner?: string; repo?: string },
    options?: MCP.CallOptions,
  ): Promise<ToolResults.RunnerQueues>;
  runnerProvisionForWorkflow(args: { repo: string }, options?: MCP.CallOptions): Promise<ToolResults.RunnerProvisioned>;
  runnerListContainers(args?: MCP.Nothing, options?: MCP.CallOptions): Promise<ToolResults.RunnerContainers>;
  /** `container_id` is an older name of `container`. */
  runnerStopContainer(
    args: { container: string } | { container_id: string },
    options?: MCP.CallOptions,
  ): Promise<ToolResults.RunnerContainerStopped>;

  p2pSubmitTask(
    args: {
      task_id: string;
      workflow_id: string;
      name: string;
      tags?: string[];
      /** Urgency: 10 runs first, 1 last. */
      priority?: number;
      metadata?: Record<string, unknown> | null;
    },
    options?: MCP.CallOptions,
  ): Promise<ToolResults.TaskSubmitted>;
  p2pGetNextTask(
    args?: { lease_ms?: number; tags?: string[] },
    options?: MCP.CallOptions,
  ): Promise<ToolResults.TaskTaken>;
  p2pMarkTaskComplete(
    args: { task_id: string; fencing_token?: string | null; result?: unknown },
    options?: MCP.CallOptions,
  ): Promise<ToolResults.TaskCompleted>;
  /** `state` is an older name of `clock_data`. */
  p2pUpdatePeerState(
    args: { peer_id: string } & ({ clock_data: ToolResults.ClockData } | { state: ToolResults.ClockData }),
    options?: MCP.CallOptions,
  ): Promise<ToolResults.PeerStateUpdated>;
  p2pSchedulerStatus(args?: MCP.Nothing, options?: MCP.CallOptions): Promise<ToolResults.SchedulerStatus>;
  p2pCheckWorkflowTags(args: { tags: string[] }, options?: MCP.CallOptions): Promise<ToolResults.TagsChecked>;
  p2pGetMerkleClock(args?: MCP.Nothing, options?: MCP.CallOptions): Promise<ToolResults.MerkleClock>;
}

declare namespace MCP {
  export { MCP, MCP as default };
  /** What tools answer. */
  export import tools = ToolResults;

  /** Why a call did not do what was asked. */
  export class WfengineError extends Error {
    constructor(message: string, about?: { status?: number; kind?: string; candidates?: string[] });
    /** The HTTP status; 0 where no answer came, where nothing was sent, and within a stream. */
    status: number;
    /** One word for programs, such as unknown, conflict, refused or unreachable. */
    kind: string;
    /** Ids or names that may have been meant. */
    candidates: string[];
  }

  export interface Options {
    /** In Node also WFENGINE_NODE; http://127.0.0.1:8080 otherwise. */
    url?: string | URL;
    /** In Node also WFENGINE_TOKEN, or the file http-token of the node of this host. */
    token?: string;
    /** What to ask with, instead of the platform's own. */
    fetch?: typeof globalThis.fetch;
    /** How long an answer may take, in milliseconds; 30000 unless given. Streams may take any time. */
    timeoutMs?: number;
  }

  export interface StreamOptions {
    /** Ends it: the reason of the signal is thrown. */
    signal?: AbortSignal;
  }

  export interface CallOptions extends StreamOptions {
    /** For this call alone. */
    timeoutMs?: number;
  }

  export interface EventOptions extends StreamOptions {
    /** Place in the log, from 0; from now on unless given. */
    from?: number;
  }

  export type Arguments = object | null;
  export type Nothing = Record<string, never> | null;

  export interface Tool {
    name: string;
    description: string;
    /** JSON Schema 2020-12. */
    input_schema: Record<string, unknown>;
    output_schema: Record<string, unknown>;
    reads_only: boolean;
  }

  // ---- runs

  export interface Workflow {
    /** What runs show as the file's path. */
    path: string;
    /** The file's text, at most 512 KiB. */
    source: string;
    name?: string | null;
    /** Inputs of on.workflow_dispatch by name. */
    inputs?: Record<string, unknown>;
    /** The lower one runs first; above 0, at most 1000; 3 unless given. */
    priority?: number | null;
    /** Submits at most once under this id. */
    id?: string | null;
    retries?: number;
  }

  export interface RunFilter {
    status?: Status | null;
    /** Only with a job at this peer, by name or id. */
    peer?: string | null;
    tag?: string | null;
    /** Only of so many milliseconds ago at most. */
    since_ms?: number | null;
    /** 1 or more; 50 unless given. */
    limit?: number;
    /** Only runs after this place: the `next` of an answer of the tool `list_runs`. */
    after?: string | null;
  }

  export type Status =
    | 'pending'
    | 'assigned'
    | 'in_progress'
    | 'completed'
    | 'failed'
    | 'cancelled'
    | 'skipped'
    | 'expired';

  export interface Submitted {
    run: Run;
    /** It was submitted before with the same content. */
    already_so: boolean;
    notes: string[];
    copies: string[];
  }

  export interface Run {
    id: string;
    given_id: string;
    name: string;
    status: Status;
    reason: string;
    kind: 'workflow' | 'task' | 'unknown';
    path: string;
    workflow_id: string;
    repository: string;
    git_ref: string;
    sha: string;
    trigger: 'found' | 'push' | 'schedule' | 'dispatch' | 'hand';
    github: string | null;
    attempt: number;
    tags: string[];
    priority: number;
    submitted_by: string;
    submitted_ms: number;
    submission: string;
    metadata: unknown;
    inputs: Record<string, unknown>;
    conflict: boolean;
    divergent_plan: boolean;
    stale_input: boolean;
    waiting_jobs: string[];
    jobs: Job[];
  }

  export interface Job {
    id: string;
    run: string;
    key: string;
    name: string;
    status: Status;
    reason: string;
    matrix: Record<string, unknown>;
    runs_on: string[];
    needs: string[];
    peer: string | null;
    claims: Claim[];
    conclusion: 'success' | 'failure' | 'cancelled' | 'skipped' | null;
    outputs: Record<string, string>;
    result: unknown;
    log: string | null;
    duration_ms: number | null;
    notes: string[];
    duplicates: string[];
    divergent: boolean;
    result_superseded: boolean;
  }

  export interface Claim {
    id: string;
    peer: string;
    epoch: number;
    band: 0 | 1;
    rank: number;
    distance: number;
    started: boolean;
    steps_done: number;
    state: string;
    effective: boolean;
    time_ms: number;
  }

  /** Something that happens in a run. */
  export type Progress =
    | { what: 'note'; text: string }
    | { what: 'submitted'; run: string }
    | { what: 'job_started'; job: string; name: string; peer: string }
    | { what: 'step'; job: string; number: number; name: string }
    | {
        what: 'line';
        job: string;
        name: string;
        step: number;
        stream: 'out' | 'err' | 'note';
        offset_ms: number;
        text: string;
      }
    | { what: 'step_ended'; job: string; number: number; name: string; conclusion: string; duration_ms: number }
    | { what: 'job_ended'; job: string; name: string; conclusion: string };

  /** A signed event of the log. */
  export interface Event {
    id: string;
    author: string;
    author_name: string;
    incarnation: string;
    seq: number;
    height: number;
    time: string;
    time_ms: number;
    /** Such as JobClaimed. */
    kind: string;
    kind_number: number;
    /** What it says, for people. */
    says: string;
    counts: boolean;
    body: 'known' | 'unknown' | 'void';
    run: string | null;
    job: string | null;
    details: Record<string, string>;
    prev: string | null;
    parents: string[];
    refs: string[];
    blobs: string[];
  }
}

export = MCP;
