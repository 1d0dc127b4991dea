// Writes one after the other, in the order in which they were asked for; one that is asked for
// again before its turn is done once, as it is then. What fails is tried again later: a lost
// connection loses no message while the page is open.

// `leaving`: the page is being closed, and the browser finishes the call.
type Write = (leaving?: boolean) => Promise<void>;

export class Saver {
  readonly #waiting = new Map<string, Write>();
  readonly #retryMs: number;
  readonly #onfault: (fault: unknown) => void;
  #running: Promise<void> | undefined;

  // `onfault` hears undefined when writes succeed again.
  constructor(onfault: (fault: unknown) => void, retryMs = 5000) {
    this.#onfault = onfault;
    this.#retryMs = retryMs;
  }

  // `key`: what is written, such as a message's id.
  save(key: string, write: Write): void {
    this.#waiting.set(key, write);
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
  }

  // Begins at once with all that waits, since the page is being closed. What is on its way already is sent again: its
  // call ends with the page.
  leave(): void {
    for (const write of this.#waiting.values()) void write(true).catch(() => {});
  }

  // Resolves when nothing waits any more.
  async idle(): Promise<void> {
    while (this.#running) await this.#running;
  }

  async #run(): Promise<void> {
    let failed = false;
    for (;;) {
      const next = this.#waiting.entries().next();
      if (next.done) return;
      const [key, write] = next.value;
      try {
        await write();
        // Asked for again meanwhile: then it is another write.
        if (this.#waiting.get(key) === write) this.#waiting.delete(key);
        if (failed) this.#onfault(undefined);
        failed = false;
      } catch (fault) {
        if (isRefusal(fault)) this.#waiting.delete(key);
        failed = true;
        this.#onfault(fault);
        if (!isRefusal(fault)) await new Promise((resolve) => setTimeout(resolve, this.#retryMs));
      }
    }
  }
}

// The same write would be refused again: it is too large, or what it belongs to is deleted.
function isRefusal(fault: unknown): boolean {
  const status = (fault as { status?: number }).status ?? 0;
  return status >= 400 && status < 500 && status !== 401 && status !== 408 && status !== 429;
}
