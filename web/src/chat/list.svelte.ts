// The list of conversations, as much of it as was looked at.
import { onConversations } from '../api/stream.svelte';
import type { ConversationEntry } from '../api/types';
import { keeping, withKeeper } from './keeping.svelte';
import { later } from './later';
import { forgetTalk } from './talks.svelte';

// Notices come in swarms: each message that is kept is one.
const settleMs = 300;

let entries = $state.raw<ConversationEntry[]>([]);
let next = $state<string | null>(null);
let search = $state('');
let state = $state<'loading' | 'ready' | 'failed'>('loading');
let fault = $state.raw<unknown>();
// Deleted, and not yet told the node: they may come back.
const leaving = new Map<string, ReturnType<typeof setTimeout>>();
let asked = false;
let turn = 0;

export const conversations = {
  get entries() { return entries; },
  get more() { return next !== null; },
  get search() { return search; },
  get state() { return state; },
  get fault() { return fault; },
};

// Reads the first page unless that was done; the stream of events keeps it up to date from then on.
export function showConversations(): void {
  if (!asked) void refresh();
}

export async function refresh(): Promise<void> {
  asked = true;
  const mine = ++turn;
  try {
    const page = await withKeeper((keeper) => keeper.page(search));
    if (mine !== turn) return;
    entries = merged(page.data, page.next);
    fault = undefined;
    state = 'ready';
  } catch (error) {
    if (mine !== turn) return;
    fault = error;
    state = 'failed';
  }
}

// What was read further down stays: only what is newer moves to the top.
function merged(first: ConversationEntry[], after: string | null): ConversationEntry[] {
  const fresh = first.filter((one) => !leaving.has(one.id));
  if (after === null || entries.length <= first.length) {
    next = after;
    return fresh;
  }
  const known = new Set(fresh.map((one) => one.id));
  const oldest = first.at(-1)?.updated ?? 0;
  return [...fresh, ...entries.filter((one) => !known.has(one.id) && one.updated <= oldest)];
}

let reading = false;
export async function readMore(): Promise<void> {
  if (next === null || reading) return;
  reading = true;
  const mine = turn;
  const from = next;
  try {
    const page = await keeping.keeper.page(search, from);
    if (mine !== turn) return;
    const known = new Set(entries.map((one) => one.id));
    entries = [...entries, ...page.data.filter((one) => !known.has(one.id) && !leaving.has(one.id))];
    next = page.next;
  } catch (error) {
    fault = error;
  } finally {
    reading = false;
  }
}

const searched = later(200, () => void refresh());
export function searchFor(text: string): void {
  search = text;
  entries = [];
  state = 'loading';
  searched.ask();
}

export async function rename(id: string, title: string): Promise<void> {
  await keeping.keeper.change(id, { title });
  entries = entries.map((one) => (one.id === id ? { ...one, title } : one));
}

// How long a deletion can be taken back, in ms.
const undoMs = 8000;

// Takes it out of the list now, and tells the node when it cannot be taken back any more. Gives the
// function that takes it back. `onfault` hears why the node did not delete it.
export function remove(id: string, onfault: (fault: unknown) => void): () => void {
  const before = entries;
  const at = before.findIndex((one) => one.id === id);
  const gone = before[at];
  entries = before.filter((one) => one.id !== id);
  const back = (): void => {
    clearTimeout(leaving.get(id));
    if (!leaving.delete(id)) return; // it is deleted already, and may be back by an import
    if (gone) entries = [...entries.slice(0, at), gone, ...entries.slice(at)];
  };
  const last = (): void => {
    forgetTalk(id);
    keeping.keeper.remove(id).then(
      () => leaving.delete(id),
      (fault: unknown) => {
        back();
        onfault(fault);
      },
    );
  };
  leaving.set(id, setTimeout(last, undoMs));
  return back;
}

// What is being deleted is deleted now: who imports a file wants back what is in it.
export async function finishDeletions(): Promise<void> {
  await Promise.all([...leaving].map(async ([id, timer]) => {
    clearTimeout(timer);
    forgetTalk(id);
    await keeping.keeper.remove(id).catch(() => {});
    leaving.delete(id);
  }));
}

const settled = later(settleMs, () => void refresh());
onConversations((notice) => {
  if (notice !== 'all') entries = entries.filter((one) => !notice.deleted.includes(one.id));
  if (asked) settled.ask();
});

// Whoever closes the page does not want deletions back.
addEventListener('pagehide', () => {
  for (const [id, timer] of leaving) {
    clearTimeout(timer);
    void keeping.keeper.remove(id, true).catch(() => {});
  }
  leaving.clear();
});
