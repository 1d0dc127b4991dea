// The file of conversations that is being imported, of which there is one at a time: it goes on while another view is
// shown.
import { messageOf } from '../api/client';
import { toast } from '../app/toasts.svelte';
import { words } from '../words/index.svelte';
import { keeping } from './keeping.svelte';
import type { ConversationFile } from './keeper';
import { finishDeletions, refresh } from './list.svelte';

interface Importing {
  file: string;
  taken: number;
  total: number;
  cancel(): void;
}

let current = $state.raw<Importing>();

export const importing = {
  get current(): Importing | undefined {
    return current;
  },
};

// Tells in a notice how it has ended.
export async function importFile(file: File): Promise<void> {
  const stop = new AbortController();
  let taken = 0;
  try {
    const content = await read(file);
    await finishDeletions();
    const told = (): void => void (current = { file: file.name, taken, total: content.data.length, cancel: () => stop.abort() });
    told();
    const { added, updated, unchanged } = await keeping.keeper.imported(content, (count) => ((taken = count), told()), stop.signal);
    toast(words.chat.imported(added, updated, unchanged), { kind: 'good' });
  } catch (fault) {
    if (stop.signal.aborted) toast(words.chat.importCanceled(taken));
    else toast(words.chat.notImported(file.name, messageOf(fault)), { kind: 'bad' });
  } finally {
    current = undefined;
  }
  await refresh();
}

async function read(file: File): Promise<ConversationFile> {
  const parsed: unknown = await file.text().then(JSON.parse).catch(() => undefined);
  const found = parsed as Partial<ConversationFile> | undefined;
  if (found?.exo_conversations !== 1 || !Array.isArray(found.data)) throw new Error(words.chat.noExport);
  return found as ConversationFile;
}
