// What the node answers. Times are milliseconds since 1970, sizes bytes, ids hexadecimal text; what
// is not known is left out.

export interface Session {
  signed_in: boolean;
  scopes: Scope[];
  name?: string;
  // Not told to strangers.
  device?: { id: string; name: string; version: string };
  // The page was opened on the device itself.
  local: boolean;
}
export type Scope = 'infer' | 'models' | 'admin';

export type NodeState = 'self' | 'connecting' | 'alive' | 'suspect' | 'dead' | 'left' | 'refused';

export interface Health {
  share: number;
  other_load?: number;
  reasons: ('charge' | 'battery' | 'heat' | 'owner' | 'hours')[];
  text: string;
  power?: 'mains' | 'battery';
  charge?: number;
  heat?: 'hot' | 'cool';
  owner?: 'present' | 'away';
}
export interface Processor {
  kind: 'cpu' | 'gpu';
  name: string;
  isa: string;
  cores: number;
  memory_total: number;
  memory_budget: number;
  memory_reserved: number;
  decode_gbps: number;
  prefill_gops: number;
  disk_gbps?: number;
  load: number;
}
export interface ClusterNode {
  id: string;
  name: string;
  state: NodeState;
  detail: string;
  rtt_ms: number;
  addresses: string[];
  isa: string;
  cores: number;
  memory_total: number;
  memory_budget: number;
  memory_reserved: number;
  decode_gbps: number;
  prefill_gops: number;
  devices: Processor[];
  health: Health;
  api_port: number;
  models: { id: string; name: string; bytes: number; complete: boolean }[];
}
export interface Stage {
  node: string;
  node_id: string;
  layer_begin: number;
  layer_end: number;
  bytes: number;
  ms_per_token?: number;
  kv_heads?: [number, number];
  ffn_columns?: [number, number];
  query_heads?: [number, number];
  experts?: [number, number];
  vocab_rows?: [number, number];
}
interface Placement {
  plan_id: string;
  model: string;
  model_id: string;
  owner: string;
  layers: number;
  context: number;
  kv: string;
  wire: string;
  draft: string | null;
  kv_positions: number;
  stages: Stage[];
  reason: string;
  predicted_tokens_per_second: number;
}
export interface Instance extends Placement {
  owner_name: string;
  state: 'reserving' | 'loading' | 'ready' | 'draining' | 'gone';
  detail: string;
  active_requests: number;
  queued_requests: number;
  pinned: boolean;
  // Seconds that it stays when idle; null: as long as there is room.
  keep_alive: number | null;
}
export interface Cluster {
  self: string;
  nodes: ClusterNode[];
  links: { from: string; to: string; state: NodeState; rtt_ms: number }[];
  instances: Instance[];
  neighbors_of_other_clusters: number;
  sent: { rows: number; bytes: number };
  sequence: number;
}

export interface PlanRequest {
  model: string;
  context?: number;
  split?: 'auto' | 'layer' | 'tensor' | 'hybrid';
  for?: 'latency' | 'throughput' | 'prompts' | 'auto';
  users?: number;
  without?: string[];
}
export interface Plan extends Placement {
  predicted_prompt_per_second: number;
  // Of a prompt of so many tokens.
  predicted_ttft_ms: number;
  predicted_prompt_tokens: number;
  users: number;
  predicted_total_per_second: number;
  devices: {
    id: string;
    name: string;
    memory_available: number;
    memory_budget: number;
    decode_gbps: number;
    prefill_gops: number;
    guest: boolean;
  }[];
  hops: { from: string; to: string; rtt_ms: number; rtt_p99_ms?: number; mbps: number | null; mbps_back?: number | null }[];
  // Where the model runs several times, the others.
  replicas: Pick<Plan, 'stages' | 'hops'>[];
  // A sentence for each placement that was compared.
  explanation: string[];
}

export interface Model {
  id: string;
  created: number;
  context_length: number;
  exo: {
    model_id: string;
    architecture: string;
    layers: number;
    bytes: number;
    local: boolean;
    // A device that is here has its file.
    held: boolean;
    names: string[];
    state: '' | 'loading' | 'ready';
    base: string | null;
    draft: string | null;
  };
}
export interface ModelList {
  data: Model[];
}

export interface DeviceTelemetry {
  id: string;
  memory_total?: number;
  memory_used?: number;
  memory_exo?: number;
  // Of other programs, 0 to 1.
  load?: number;
  // The part of the time that exo computes, 0 to 1.
  busy?: number;
  temperature_c?: number;
  throttled?: boolean;
  power?: 'mains' | 'battery' | 'unknown';
  charge?: number;
  share?: number;
}
export interface Telemetry {
  time: number;
  devices: DeviceTelemetry[];
  links: { from: string; to: string; rtt_ms?: number; bytes_per_second?: number; mbps?: number }[];
  instances: { plan: string; tokens_per_second?: number; requests?: number }[];
}

export type RequestState = 'queued' | 'prompt' | 'answering' | 'done' | 'failed' | 'canceled';
export interface RequestEntry {
  id: string;
  model: string;
  state: RequestState;
  // The key's name, "" for programs of the device itself.
  who: string;
  entry: string;
  dialect: string;
  started: number;
  ended?: number;
  prompt_tokens?: number;
  cached_tokens?: number;
  generated?: number;
  tokens_per_second?: number;
  ttft_ms?: number;
  devices: string[];
  error?: string;
}
export interface RequestList {
  data: RequestEntry[];
}
export type SpanName =
  | 'queue' | 'load' | 'template' | 'tokenize' | 'prompt' | 'token' | 'stage' | 'wire' | 'sample';
export interface Span {
  name: SpanName;
  device?: string;
  stage?: number;
  // Microseconds since the request's start.
  start_us: number;
  duration_us: number;
  // Index of the first token that a step brought.
  token?: number;
  rows?: number;
  // Of a wire between stages: the device that gets the rows.
  to?: string;
  // Of several answers to one prompt.
  choice?: number;
}
export interface Trace {
  id: string;
  model: string;
  spans: Span[];
  // Steps beyond those that are kept.
  dropped: number;
}

export interface Pull {
  model: string;
  step: 'manifest' | 'file' | 'verifying' | 'placing' | 'done';
  file?: string;
  completed?: number;
  total?: number;
  bytes_per_second?: number;
  seconds_left?: number;
  // For so long nothing has come.
  silent_seconds?: number;
  // What the planner says of it.
  note?: string;
  error?: string;
}

export interface Attachment {
  name: string;
  kind: string;
  text: string;
}
export interface MessageStats {
  ttft_ms?: number;
  tokens_per_second?: number;
  prompt_tokens?: number;
  cached_tokens?: number;
  completion_tokens?: number;
  devices?: string[];
  request?: string;
  // Why it is not whole.
  ended?: 'stopped' | 'failed' | undefined;
}
export interface TokenProbability {
  token: string;
  logprob: number;
  bytes?: number[] | null;
  top_logprobs?: { token: string; logprob: number; bytes?: number[] | null }[];
}
export interface ToolCall {
  id: string;
  type: 'function';
  function: { name: string; arguments: string };
}
export interface Message {
  // 32 hexadecimal digits, chosen by who writes it.
  id: string;
  parent: string | null;
  role: 'system' | 'user' | 'assistant' | 'tool';
  content: string;
  reasoning?: string;
  tool_calls?: ToolCall[];
  tool_call_id?: string;
  attachments?: Attachment[];
  model?: string;
  stats?: MessageStats;
  logprobs?: TokenProbability[];
  created: number;
  updated: number;
}
export interface ConversationEntry {
  id: string;
  title: string;
  model?: string;
  created: number;
  updated: number;
  snippet?: string;
}
export interface Conversation extends ConversationEntry {
  settings?: Record<string, unknown>;
  // The last message of the branch that is shown.
  leaf: string | null;
  messages: Message[];
}
export interface ConversationPage {
  data: ConversationEntry[];
  next: string | null;
}
export interface ConversationNotice {
  changed: string[];
  deleted: string[];
}

export interface TrustDevice {
  id: string;
  name: string;
  state: 'member' | 'guest' | 'pending' | 'forgotten';
}
export interface Invitation {
  code: string;
  code_seconds: number;
  links: string[];
  link_seconds: number;
}
export interface AuditEntry {
  time: number;
  what: string;
  device: string;
  // What the device is called.
  name?: string;
  detail: string;
}
export interface Audit {
  data: AuditEntry[];
  intact: boolean;
  // Where it is not intact: what is wrong.
  problem?: string;
}

export interface Setting {
  name: string;
  value: unknown;
  origin: 'flag' | 'environment' | 'file' | 'default';
  default: unknown;
  kind: string;
  help: string;
  // A change takes effect at the next start.
  restart: boolean;
  // Where the value comes from, in full: "exo.toml line 3".
  source?: string;
  // The value from the next start on, where it is another.
  next?: unknown;
  // No value is told, and none can be set here.
  secret?: boolean;
}
export interface SettingsChanged {
  now: string[];
  restart: string[];
  // For those the file does not count, but `by`: "--port".
  hidden: { name: string; by: string }[];
}
export interface Settings {
  file: string;
  // Why the next start would fail.
  problem?: string;
  data: Setting[];
}
export interface ApiKey {
  name: string;
  scopes: Scope[];
  // Requests per minute and tokens per day; null: any.
  rate?: number | null;
  quota?: number | null;
  created?: number;
  last_used?: number;
}

export interface LogLine {
  time: number;
  level: string;
  text: string;
}
export interface Check {
  id: string;
  state: 'ok' | 'warning' | 'problem' | 'unknown';
  title: string;
  detail: string;
  fix: string;
}
