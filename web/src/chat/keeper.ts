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
  put: async (id, message) => void (await call(`${at(id)}/messages/${message.id}`, { method: 'PUT', body: message })),
  exported: () => json(`${root}/export`),
  imported: (file) => json(`${root}/import`, { body: file }),
};
