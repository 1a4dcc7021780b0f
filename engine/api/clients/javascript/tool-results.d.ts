// What the tools answer that older programs know, and those behind the client's own verbs.

import MCP = require('./index.js');

// ---- the autoscaler of GitHub runners

export interface RunnerStarted {
  success: boolean;
  running: boolean;
  message: string;
  notes: string[];
}

export interface RunnerStopped {
  success: boolean;
  running: boolean;
  message: string;
  /** Runners that finish their job first. */
  draining: string[];
}

export interface RunnerStatusAnswer {
  success: boolean;
  data: RunnerStatus;
}

export interface RunnerStatus {
  running: boolean;
  start_time: string | null;
  iterations: number;
  active_runners: number;
  queued_workflows: number;
  repositories_monitored: number;
  last_check: string | null;
  provisioned_runners: number;
  pools: RunnerPool[];
  runners: Runner[];
  refused: RefusedJob[];
  troubles: RunnerTrouble[];
  github: Record<string, unknown>;
  docker: Record<string, unknown>;
  /** Null where no pool shares this host with the cluster's own jobs. */
  p2p: { pending: number; share: number; running: number } | null;
}

export interface RunnerPool {
  name: string;
  on: boolean;
  scopes: string[];
  labels: string[];
  image: string;
  max: number;
  cluster_max: number | null;
  idle_min: number;
  interval_s: number;
  active: number;
  starting: number;
  idle: number;
  busy: number;
  draining: number;
  waiting_jobs: number;
  elsewhere: number;
  trouble: string | null;
}

export interface Runner {
  name: string;
  pool: string;
  scope: string;
  phase: string;
  container: string | null;
  runner: number | null;
  busy: boolean;
  cause: string;
  job: string | null;
  labels: string[];
  peer: string;
  image: string;
  end: string | null;
  since: string | null;
}

export interface RefusedJob {
  repo: string;
  job: string;
  labels: string[];
  why: string;
  remedy: string;
  url: string | null;
}

export interface RunnerTrouble {
  what: string;
  remedy: string;
  about: string;
  times: number;
  since: string | null;
  next_try: string | null;
}

export interface RunnerQueues {
  success: boolean;
  data: RunnerQueue[];
  count: number;
}

export interface RunnerQueue {
  repo: string;
  total_workflows: number;
  running: number;
  failed: number;
  pending: number;
  queued_jobs: number;
  served_jobs: number;
  unserved: Record<string, number>;
  problem: string | null;
}

export interface RunnerProvisioned {
  /** False: the message says what to do. */
  success: boolean;
  data: {
    repo: string;
    container_id: string | null;
    token_generated: boolean;
    status: 'provisioned' | 'failed' | 'token_failed';
    name: string;
  };
  message: string;
}

export interface RunnerContainers {
  success: boolean;
  data: RunnerContainer[];
  count: number;
}

export interface RunnerContainer {
  container_id: string;
  repo: string;
  status: string;
  created_at: string;
  name: string;
  pool: string;
  image: string;
  runner: number | null;
  busy: boolean;
  job: string | null;
  known: boolean;
}

export interface RunnerContainerStopped {
  success: boolean;
  message: string;
}

// ---- the scheduler: tools p2p_…

export interface Called {
  /** The tool's name. */
  tool: string;
  /** Seconds since 1970. */
  timestamp: number;
}

export interface VectorClock {
  node_id: string;
  vector: Record<string, number>;
  merkle_root: string;
}

/** What a program knows of a peer's clock. */
export interface ClockData {
  node_id?: string;
  vector?: Record<string, number>;
  merkle_root?: string | null;
}

export interface MerkleClock extends VectorClock, Called {}

export interface SchedulerStatus extends Called {
  peer_id: string;
  merkle_clock: VectorClock;
  pending_tasks: number;
  assigned_tasks: number;
  completed_tasks: number;
  queue_size: number;
  known_peers: number;
}

export interface TaskSubmitted extends Called {
  success: boolean;
  task_id: string;
  task_hash: string;
  /** Urgency: 10 runs first, 1 last. */
  priority: number;
  already_so: boolean;
  /** Words that are no routing tags: kept as labels. */
  unknown_tags: string[];
}

export interface TaskTaken extends Called {
  task: Task | null;
  message: string | null;
}

export interface Task {
  task_id: string;
  workflow_id: string;
  name: string;
  tags: string[];
  /** Urgency: 10 runs first, 1 last. */
  priority: number;
  task_hash: string;
  assigned_peer: string;
  fencing_token: string;
  idempotency_key: string;
  lease_ms: number;
  metadata: unknown;
}

export interface TaskCompleted extends Called {
  success: boolean;
  task_id: string;
}

export interface TagsChecked extends Called {
  should_bypass_github: boolean;
  is_p2p_only: boolean;
  tags: string[];
  unknown_tags: string[];
}

export interface PeerStateUpdated extends Called {
  success: boolean;
  peer_id: string;
  message: string;
}

// ---- the other tools that the documents use

export interface CounterClock {
  peer_id: string;
  counter: number;
  parent_hash: string | null;
  timestamp: number;
  hash: string;
}

export interface DatasetsStatus {
  peer_id: string;
  num_peers: number;
  clock: CounterClock;
  queue_size: number;
  assigned_workflows: number;
  total_workflows: number;
}

export interface ScheduleResult {
  success: boolean;
  workflow_id: string;
  assigned_peer: string | null;
  is_local: boolean | null;
  queue_size: number | null;
  clock_hash: string | null;
  reason: string | null;
  tags: string[];
}

export interface NextWorkflow {
  workflow_id: string;
  name: string;
  tags: string[];
  priority: number;
  created_at: number;
  metadata: Record<string, unknown>;
  fencing_token: string;
}

export interface PeerRemembered {
  success: boolean;
  peer_id: string;
  message: string;
  num_peers: number;
  timestamp: number;
}

export interface CoordinatorWorkflow {
  workflow_id: string;
  name: string;
  workflow_file: string;
  inputs: Record<string, unknown>;
  priority: number;
  tags: string[];
  status: string;
  assigned_peer: string | null;
  created_at: number;
  started_at: number | null;
  completed_at: number | null;
  result: unknown;
  error: string | null;
}

/** What each tool answers, by its name. */
export interface Results {
  runner_start_autoscaler: RunnerStarted;
  runner_stop_autoscaler: RunnerStopped;
  runner_get_status: RunnerStatusAnswer;
  runner_list_workflows: RunnerQueues;
  runner_provision_for_workflow: RunnerProvisioned;
  runner_list_containers: RunnerContainers;
  runner_stop_container: RunnerContainerStopped;

  p2p_scheduler_status: SchedulerStatus;
  p2p_submit_task: TaskSubmitted;
  p2p_get_next_task: TaskTaken;
  p2p_mark_task_complete: TaskCompleted;
  p2p_check_workflow_tags: TagsChecked;
  p2p_update_peer_state: PeerStateUpdated;
  p2p_get_merkle_clock: MerkleClock;

  initialize_p2p_scheduler: { success: boolean; message: string; status: DatasetsStatus };
  schedule_p2p_workflow: { success: boolean; workflow_id: string; result: ScheduleResult; timestamp: number };
  get_next_p2p_workflow: {
    success: boolean;
    workflow: NextWorkflow | null;
    message: string | null;
    timestamp: number;
  };
  get_p2p_scheduler_status: { success: boolean; status: DatasetsStatus; timestamp: number };

  submit_p2p_workflow: {
    success: boolean;
    workflow_id: string;
    message: string;
    status: string;
    notes: string[];
  };
  assign_p2p_workflows: {
    success: boolean;
    assigned_count: number;
    workflow_ids: string[];
    assignments: { workflow_id: string; assigned_peer: string | null }[];
    message: string;
  };
  get_p2p_workflow_status: { success: boolean } & CoordinatorWorkflow;
  list_p2p_workflows: {
    success: boolean;
    count: number;
    workflows: CoordinatorWorkflow[];
    filters: { status: string | null; peer_id: string | null };
  };
  update_p2p_workflow_status: { success: boolean; workflow_id: string; new_status: string; message: string };
  add_p2p_peer: PeerRemembered;
  remove_p2p_peer: PeerRemembered;
  get_p2p_stats: {
    success: boolean;
    peer_id: string;
    total_workflows: number;
    queue_size: number;
    peer_count: number;
    merkle_clock_height: number;
    status_counts: Record<string, number>;
    my_workflows: number;
  };
  parse_workflow_tags: {
    success: boolean;
    workflow_file: string;
    is_p2p: boolean;
    metadata: { name: string; tags: string[]; jobs: string[] } | null;
    routing: string | null;
    warnings: string[];
    error: string | null;
  };
  get_my_p2p_workflows: { success: boolean; count: number; peer_id: string; workflows: CoordinatorWorkflow[] };

  submit_workflow: MCP.Submitted;
  get_run: MCP.Run;
  list_runs: { runs: MCP.Run[]; count: number; next: string | null };
  cancel_run: MCP.Run;
  wait_for_run: MCP.Run;
}
