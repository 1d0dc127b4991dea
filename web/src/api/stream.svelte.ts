// The one stream of events that the page listens to, and the state that it keeps up to date. Nothing
// is asked for at intervals.
import { ApiError, call, json } from './client';
import { backoffMs } from './backoff';
import { readEvents, type ServerEvent } from './sse';
import type {
  Cluster, ConversationNotice, Model, ModelList, Pull, RequestEntry, RequestList, Telemetry,
} from './types';

interface Live {
  // `lost`: it was open, or could not be opened, and is tried again; `denied`: this page may not.
  connection: 'connecting' | 'open' | 'lost' | 'denied';
  // Undefined until the node has told it.
  cluster: Cluster | undefined;
  telemetry: Telemetry | undefined;
  requests: RequestEntry[] | undefined;
  pulls: Pull[] | undefined;
  models: Model[] | undefined;
}

// Replaced as a whole by each event, so only the reference is tracked: 64 devices cost no proxies.
let connection = $state<Live['connection']>('connecting');
let cluster = $state.raw<Cluster>();
let telemetry = $state.raw<Telemetry>();
let requests = $state.raw<RequestEntry[]>();
let pulls = $state.raw<Pull[]>();
let models = $state.raw<Model[]>();

export const live: Readonly<Live> = {
  get connection() { return connection; },
  get cluster() { return cluster; },
  get telemetry() { return telemetry; },
  get requests() { return requests; },
  get pulls() { return pulls; },
  get models() { return models; },
};

type NoticeListener = (notice: ConversationNotice | 'all') => void;
const noticeListeners = new Set<NoticeListener>();

// `listener` hears which conversations were changed elsewhere; `all` when notices may have been
// missed. Gives the function that ends it.
export function onConversations(listener: NoticeListener): () => void {
  noticeListeners.add(listener);
  return () => void noticeListeners.delete(listener);
}

function tell(notice: ConversationNotice | 'all'): void {
  for (const listener of noticeListeners) listener(notice);
}

function take(event: ServerEvent): void {
  const data: unknown = JSON.parse(event.data);
  switch (event.event) {
    case 'cluster': cluster = data as Cluster; break;
    case 'telemetry': telemetry = data as Telemetry; break;
    case 'requests': requests = (data as RequestList).data; break;
    case 'pulls': pulls = data as Pull[]; break;
    case 'models': models = (data as ModelList).data; break;
    case 'conversations': tell(data as ConversationNotice); break;
    case 'missed': tell('all'); break;
    // `peer`, `instance`, `request` and `resync`: what they tell is in the states above.
  }
}

// A comment comes each 10 s: a line that is silent for three of them is dead, though TCP does not
// know (a phone that has changed its network).
const silentMs = 30_000;

let lastId: string | undefined;
// Tries in a row that got no answer.
let failures = 0;

// Reads one connection until it ends. Throws what `call` throws, or what ended the reading.
async function listen(stop: AbortSignal): Promise<void> {
  const dead = new AbortController();
  let heard = Date.now();
  const watch = setInterval(() => {
    if (Date.now() - heard > silentMs) dead.abort();
  }, 5000);
  try {
    const headers: Record<string, string> = { Accept: 'text/event-stream' };
    if (lastId !== undefined) headers['Last-Event-ID'] = lastId;
    const signal = AbortSignal.any([stop, dead.signal]);
    const response = await call('/v1/internal/events', { signal, headers, priority: 'low' });
    // Notices have no ids: those of a gap are not told again.
    if (connection === 'lost') tell('all');
    connection = 'open';
    failures = 0;
    for await (const event of readEvents(response.body!, () => (heard = Date.now()))) {
      lastId = event.id ?? lastId;
      take(event);
    }
  } finally {
    clearInterval(watch);
  }
}

let stop = new AbortController();
// Ends the wait before the next try.
let wake = (): void => {};

// Listens from now on, over lost connections, until the node says that this page may not. Ends what
// ran before: called again after signing in.
export async function connect(): Promise<void> {
  stop.abort();
  stop = new AbortController();
  const { signal } = stop;
  connection = 'connecting';
  failures = 0;
  for (;;) {
    const denied = await listen(signal).then(() => false, isDenied);
    if (signal.aborted) return;
    if (denied) {
      connection = 'denied';
      await readModels();
      return;
    }
    connection = 'lost';
    await pause(backoffMs(failures++, Math.random()));
    if (signal.aborted) return;
  }
}

// Who may ask models but not follow the cluster still chooses among them.
async function readModels(): Promise<void> {
  models = await json<ModelList>('/v1/models').then((list) => list.data, () => undefined);
}

function isDenied(fault: unknown): boolean {
  return fault instanceof ApiError && (fault.status === 401 || fault.status === 403);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

// Tries at once: the person asked, or the browser says that it is online again.
export function retryNow(): void {
  wake();
}

addEventListener('online', retryNow);
