// Where conversations are kept: by the cluster, or only in this page where the node keeps none.
import { call, json } from '../api/client';
import type { Conversation, ConversationPage, Message } from '../api/types';

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
  change(id: string, fields: ConversationFields): Promise<void>;
  // `leaving`: the page is being closed, and the browser finishes the call.
  remove(id: string, leaving?: boolean): Promise<void>;
  put(id: string, message: Message): Promise<void>;
  exported(): Promise<ConversationFile>;
  imported(file: ConversationFile): Promise<ImportReport>;
}

// What the node takes: of a message, and of a body less what is around it.
const messageLimit = 4 * 1024 * 1024;
const bodyLimit = 7 * 1024 * 1024;

const bytesOf = (value: unknown): number => new TextEncoder().encode(JSON.stringify(value)).length;

// A message that the node takes: probabilities of a very long answer are left out rather than all of it.
export function fitting(message: Message): Message {
  if (!message.logprobs || bytesOf(message) <= messageLimit) return message;
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
  change: async (id, fields) => void (await call(at(id), { method: 'PATCH', body: fields })),
  remove: async (id, leaving) => void (await call(at(id), { method: 'DELETE', keepalive: leaving ?? false })),
  put: async (id, message) => void (await call(`${at(id)}/messages/${message.id}`, { method: 'PUT', body: fitting(message) })),
  exported: () => json(`${root}/export`),
  async imported(file) {
    const sum = { added: 0, updated: 0, unchanged: 0 };
    for (const data of partsOf(file.data)) {
      const report = await json<ImportReport>(`${root}/import`, { body: { ...file, data } });
      for (const name of ['added', 'updated', 'unchanged'] as const) sum[name] += report[name];
    }
    return sum;
  },
};
