import { messageOf } from '../api/client';
import { toast } from './toasts.svelte';

// Does what a person asked for; a failure is told in a notice. Gives whether it was done.
export async function act(what: () => Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await what();
  } catch (fault) {
    toast(messageOf(fault), { kind: 'bad' });
    return false;
  }
  if (done) toast(done, { kind: 'good' });
  return true;
}
