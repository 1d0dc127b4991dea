// The talks that are open in this page, by the id of their conversation.
import { SvelteMap } from 'svelte/reactivity';
import { onConversations } from '../api/stream.svelte';
import { withKeeper } from './keeping.svelte';
import { later } from './later';
import { Talk } from './talk.svelte';

// So many stay in memory, the last shown ones; those that answer always do.
const keptOpen = 12;

const open = new SvelteMap<string, Talk>();
let fresh = new Talk();

// The one that has not begun: what was typed into it is kept.
export function freshTalk(): Talk {
  if (fresh.id !== '') fresh = new Talk();
  return fresh;
}

// Throws ApiError.
export async function openTalk(id: string): Promise<Talk> {
  // The fresh one has begun: it is in the list from now on.
  if (fresh.id === id) open.set(id, fresh);
  const known = open.get(id);
  const talk = known ?? new Talk(await withKeeper((keeper) => keeper.load(id)));
  open.delete(id);
  open.set(id, talk);
  closeOld();
  return talk;
}

export function forgetTalk(id: string): void {
  open.get(id)?.stop();
  open.delete(id);
}

export function isAnswering(id: string): boolean {
  return open.get(id)?.running !== undefined;
}

function closeOld(): void {
  for (const [id, talk] of open) {
    if (open.size <= keptOpen) return;
    if (!talk.running) open.delete(id);
  }
}

// Notices come in swarms, also of what this page itself has written.
const settleMs = 1000;
const changed = new Set<string>();
const settled = later(settleMs, () => {
  for (const id of changed) open.get(id)?.refresh().catch(() => {});
  changed.clear();
});

onConversations((notice) => {
  for (const id of open.keys()) {
    if (notice !== 'all' && notice.deleted.includes(id)) forgetTalk(id);
    else if (notice === 'all' || notice.changed.includes(id)) changed.add(id);
  }
  if (changed.size > 0) settled.ask();
});

// The fresh one may have begun without being in the list yet.
addEventListener('pagehide', () => {
  for (const talk of new Set([fresh, ...open.values()])) talk.leave();
});
