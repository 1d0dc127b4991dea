// The pulls that this page has begun: they live as long as their connection, so they belong to the
// page and not to the view. Those of others are in the stream of events, too.
import { call, errorFrom, messageOf } from '../../api/client';
import { readEvents } from '../../api/sse';
import type { Pull } from '../../api/types';
import { toast } from '../../app/toasts.svelte';
import { words } from '../../words/index.svelte';

const running = $state<Record<string, AbortController>>({});

export function isOurs(model: string): boolean {
  return model in running;
}

// Failed ones that the person has seen, by the reason: another failure is told again.
const seen = $state<Record<string, string>>({});

export function unseen(pulls: readonly Pull[]): Pull[] {
  return pulls.filter((one) => !one.error || seen[one.model] !== one.error);
}

export function hideFailure(pull: Pull): void {
  if (pull.error) seen[pull.model] = pull.error;
}

// Ends the pull; what has come stays, and another one goes on with it.
export function cancelPull(model: string): void {
  running[model]?.abort();
}

// Brings a model here, and tells in a notice how it ended. Throws ApiError when it does not begin.
export async function startPull(model: string): Promise<void> {
  delete seen[model];
  const controller = new AbortController();
  const response = await call('/v1/internal/pull', { body: { model }, signal: controller.signal });
  running[model] = controller;
  void follow(model, response.body!, controller.signal).finally(() => delete running[model]);
}

async function follow(model: string, body: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<void> {
  try {
    for await (const { data } of readEvents(body)) {
      if (data === '[DONE]') continue;
      const said = JSON.parse(data) as { step?: string; error?: unknown };
      if (said.error) throw errorFrom(said, 200);
      if (said.step === 'done') toast(words.models.pullDone(model), { kind: 'good' });
    }
  } catch (fault) {
    if (!signal.aborted) toast(words.models.pullEnded(model, messageOf(fault)), { kind: 'bad' });
  }
}
