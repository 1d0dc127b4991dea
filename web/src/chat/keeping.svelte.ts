// Which keeper this page uses: the node, until it says that it keeps no conversations.
import { ApiError } from '../api/client';
import { nodeKeeper, type Keeper } from './keeper';
import { memoryKeeper } from './memory_keeper';

let keeper = $state.raw<Keeper>(nodeKeeper);

export const keeping = {
  get keeper(): Keeper {
    return keeper;
  },
  // Conversations are gone when the page is closed.
  get onlyHere(): boolean {
    return keeper !== nodeKeeper;
  },
};

// Gives what `use` gives; where the node keeps no conversations, of a keeper in this page.
export async function withKeeper<T>(use: (keeper: Keeper) => Promise<T>): Promise<T> {
  try {
    return await use(keeper);
  } catch (fault) {
    if (keeper !== nodeKeeper || !keepsNone(fault)) throw fault;
    keeper = memoryKeeper();
    return use(keeper);
  }
}

function keepsNone(fault: unknown): boolean {
  return fault instanceof ApiError && ['unknown_route', 'conversations_off'].includes(fault.code);
}
