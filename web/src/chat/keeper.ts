// Where conversations are kept: by the cluster, or only in this page where the node keeps none.
import { ApiError, call, errorFrom, json } from '../api/client';
import { readEvents } from '../api/sse';
import type { Conversation, ConversationPage, Message } from '../api/types';
import { words } from '../words/index.svelte';

export interface ConversationFields {
  title?: string;
  model?: string;
  settings?: Record<string, unknown>;
  leaf?: string;
}
export interface ConversationFile {
  exo_conversations: 1;
  data: Conversation[];
}
export interface ImportReport {
  added: number;
  updated: number;
  unchanged: number;
}

// All throw ApiError.
export interface Keeper {
  // Newest first. `before`: the `next` of the page before.
  page(search: string, before?: string): Promise<ConversationPage>;
  load(id: string): Promise<Conversation>;
  create(fields: ConversationFields): Promise<Conversation>;
  // `leaving`: the page is being closed, and the browser finishes the call.
  change(id: string, fields: ConversationFields, leaving?: boolean): Promise<void>;
  remove(id: string, leaving?: boolean): Promise<void>;
  put(id: string, message: Message, leaving?: boolean): Promise<void>;
  exported(): Promise<ConversationFile>;
  // `ontaken` hears how many of all were looked at; `signal` ends it, and what was taken before stays.
  imported(file: ConversationFile, ontaken?: (count: number) => void, signal?: AbortSignal): Promise<ImportReport>;
}

// What the node takes: of a message, and of a body less what is around it.
const messageLimit = 4 * 1024 * 1024;
const bodyLimit = 7 * 1024 * 1024;
// What browsers finish sending for a page that is closed: 64 KiB, less what else is on its way.
const leavingLimit = 56 * 1024;

const bytesOf = (value: unknown): number => new TextEncoder().encode(JSON.stringify(value)).length;

// A message that the node takes: probabilities of a very long answer are left out rather than all of it.
export function fitting(message: Message, limit = messageLimit): Message {
  if (!message.logprobs || bytesOf(message) <= limit) return message;
  const { logprobs: _left, ...rest } = message;
  return rest;
}

// Conversations in parts that each fit into a body; one that is larger alone is a part of its own.
export function partsOf(all: Conversation[], limit = bodyLimit): Conversation[][] {
  const parts: Conversation[][] = [];
  let room = 0;
  for (const one of all) {
    const bytes = bytesOf(one) + 1;
    if (bytes > room || parts.length === 0) {
      parts.push([]);
      room = limit;
    }
    parts.at(-1)!.push(one);
    room -= bytes;
  }
  return parts;
}

const root = '/v1/conversations';
const at = (id: string) => `${root}/${encodeURIComponent(id)}`;

export const nodeKeeper: Keeper = {
  page(search, before) {
    const query = new URLSearchParams({ limit: '50' });
    if (search) query.set('search', search);
    if (before) query.set('before', before);
    return json(`${root}?${query}`);
  },
  load: (id) => json(at(id)),
  create: (fields) => json(root, { body: fields }),
  change: async (id, fields, leaving = false) => void (await call(at(id), { method: 'PATCH', body: fields, keepalive: leaving })),
  remove: async (id, leaving = false) => void (await call(at(id), { method: 'DELETE', keepalive: leaving })),
  async put(id, message, leaving = false) {
    const body = fitting(message, leaving ? leavingLimit : messageLimit);
    await call(`${at(id)}/messages/${message.id}`, { method: 'PUT', body, keepalive: leaving });
  },
  exported: () => json(`${root}/export`),
  async imported(file, ontaken = () => {}, signal) {
    const sum = { added: 0, updated: 0, unchanged: 0 };
    for (const data of partsOf(file.data)) {
      const before = countOf(sum);
      const report = await importPart({ ...file, data }, (part) => ontaken(before + countOf(part)), signal);
      for (const name of ['added', 'updated', 'unchanged'] as const) sum[name] += report[name];
    }
    return sum;
  },
};

const countOf = (report: ImportReport): number => report.added + report.updated + report.unchanged;

// One body; the node's events tell how far it is, the last one all of it.
async function importPart(file: ConversationFile, ontold: (report: ImportReport) => void, signal?: AbortSignal): Promise<ImportReport> {
  const response = await call(`${root}/import`, { body: { ...file, stream: true }, ...(signal ? { signal } : {}) });
  let last: ImportReport | undefined;
  try {
    for await (const { data } of readEvents(response.body!)) {
      if (data === '[DONE]') break;
      const told = JSON.parse(data) as ImportReport;
      if ('error' in told) throw errorFrom(told, response.status);
      last = told;
      ontold(last);
    }
  } catch (fault) {
    if (fault instanceof ApiError || signal?.aborted) throw fault;
    throw new ApiError(words.app.unreachable, 'unreachable', 0);
  }
  if (!last) throw new ApiError(words.app.unreachable, 'unreachable', 0);
  return last;
}
