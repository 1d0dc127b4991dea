// Conversations in this page alone, gone when it is closed: for nodes that keep none.
import { ApiError } from '../api/client';
import type { Conversation, ConversationEntry, Message } from '../api/types';
import type { Keeper } from './keeper';
import { newId } from './tree';

const pageLength = 50;

// `now`: milliseconds since 1970.
export function memoryKeeper(now: () => number = Date.now): Keeper {
  const kept = new Map<string, Conversation>();

  function find(id: string): Conversation {
    const found = kept.get(id);
    if (!found) throw new ApiError(`There is no conversation ${id}.`, 'not_found', 404);
    return found;
  }
  function touch(conversation: Conversation): void {
    conversation.updated = Math.max(now(), conversation.updated + 1);
  }
  function merge(other: Conversation): 'added' | 'updated' | 'unchanged' {
    const own = kept.get(other.id);
    if (!own) kept.set(other.id, structuredClone(other));
    else if (other.updated > own.updated) kept.set(other.id, { ...structuredClone(other), messages: newer(own, other) });
    else return 'unchanged';
    return own ? 'updated' : 'added';
  }

  return {
    async page(search, before) {
      const wanted = search.toLowerCase();
      const found = [...kept.values()].filter((one) => matches(one, wanted)).sort((a, b) => b.updated - a.updated);
      const from = Number(before ?? 0);
      const next = from + pageLength;
      return { data: found.slice(from, next).map(entryOf), next: next < found.length ? String(next) : null };
    },
    load: async (id) => structuredClone(find(id)),
    async create(fields) {
      const made: Conversation = { id: newId(), title: '', leaf: null, messages: [], created: now(), updated: now(), ...fields };
      kept.set(made.id, made);
      return structuredClone(made);
    },
    async change(id, fields) {
      touch(Object.assign(find(id), fields));
    },
    async remove(id) {
      kept.delete(id);
    },
    async put(id, message) {
      const conversation = find(id);
      conversation.messages = [...conversation.messages.filter((one) => one.id !== message.id), structuredClone(message)];
      touch(conversation);
    },
    exported: async () => ({ exo_conversations: 1, data: structuredClone([...kept.values()]) }),
    async imported(file) {
      const report = { added: 0, updated: 0, unchanged: 0 };
      for (const one of file.data) ++report[merge(one)];
      return report;
    },
  };
}

function matches({ title, messages }: Conversation, wanted: string): boolean {
  return [title, ...messages.map((one) => one.content)].some((text) => text.toLowerCase().includes(wanted));
}

function entryOf({ id, title, model, created, updated, messages }: Conversation): ConversationEntry {
  const snippet = messages.at(-1)?.content.slice(0, 120) ?? '';
  return { id, title, created, updated, snippet, ...(model ? { model } : {}) };
}

// All messages of both; of one that both have, the newer.
function newer(own: Conversation, other: Conversation): Message[] {
  const all = new Map(own.messages.map((one) => [one.id, one]));
  for (const one of other.messages) {
    const known = all.get(one.id);
    if (!known || one.updated > known.updated) all.set(one.id, structuredClone(one));
  }
  return [...all.values()];
}
