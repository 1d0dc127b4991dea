// Whether each model runs here and how fast: the planner's word, asked for once per state of the
// cluster and kept while the page is open.
import { ApiError, json } from '../../api/client';
import type { Cluster, Plan } from '../../api/types';

export type Verdict = { plan: Plan } | { fault: ApiError } | undefined;

const verdicts = $state<Record<string, Verdict>>({});
let signature = '';
let waiting: string[] = [];
let asking = 0;
// The planner is quick, but a library may be large: two at a time leave room for what people do.
const atOnce = 2;

// What a verdict depends on: who is here and how much each one gives.
function signatureOf(cluster: Cluster): string {
  return cluster.nodes
    .map((one) => `${one.id} ${one.state} ${one.memory_budget} ${one.health.share}`)
    .concat(cluster.instances.map((one) => one.plan_id))
    .join();
}

// Undefined: not known yet; it is being asked for.
export function verdictOf(model: string): Verdict {
  return verdicts[model];
}

// Asks for those of `models` that are not known for this state of the cluster.
export function judge(models: string[], cluster: Cluster): void {
  const now = signatureOf(cluster);
  if (now !== signature) {
    signature = now;
    for (const name of Object.keys(verdicts)) delete verdicts[name];
    waiting = [];
  }
  for (const name of models) if (!(name in verdicts) && !waiting.includes(name)) waiting.push(name);
  while (asking < atOnce && waiting.length > 0) void next();
}

async function next(): Promise<void> {
  const model = waiting.shift()!;
  const mine = signature;
  ++asking;
  verdicts[model] = undefined;
  try {
    const plan = await json<Plan>('/v1/internal/plan', { body: { model } });
    if (mine === signature) verdicts[model] = { plan };
  } catch (fault) {
    if (mine === signature && fault instanceof ApiError) verdicts[model] = { fault };
  } finally {
    --asking;
    if (waiting.length > 0) void next();
  }
}
