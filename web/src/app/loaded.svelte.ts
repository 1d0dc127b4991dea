// What a view asks the node for once when it opens, and again on demand.
export interface Loaded<T> {
  // The last answer; undefined until there is one.
  readonly value: T | undefined;
  // Why the last try failed; undefined after a success.
  readonly fault: unknown;
  readonly busy: boolean;
  reload(): Promise<void>;
}

// Asks at once. A late answer does not replace a newer one.
export function loaded<T>(ask: () => Promise<T>): Loaded<T> {
  let value = $state.raw<T>();
  let fault = $state.raw<unknown>();
  let busy = $state(false);
  let newest = 0;

  async function reload(): Promise<void> {
    const mine = ++newest;
    busy = true;
    try {
      const answer = await ask();
      if (mine !== newest) return;
      value = answer;
      fault = undefined;
    } catch (problem) {
      if (mine === newest) fault = problem;
    } finally {
      if (mine === newest) busy = false;
    }
  }

  void reload();
  return {
    get value() { return value; },
    get fault() { return fault; },
    get busy() { return busy; },
    reload,
  };
}
