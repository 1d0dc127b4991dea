// The lines of the node's log, for as long as somebody looks at them.
import { ApiError, call } from '../../api/client';
import { backoffMs } from '../../api/backoff';
import { readEvents } from '../../api/sse';
import type { LogLine } from '../../api/types';
import { appended, type Line } from './lines';

export class LogFeed {
  lines = $state.raw<Line[]>([]);
  // Undefined while all is well; the last one's reason while it is tried again.
  fault = $state.raw<unknown>();
  #last: string | undefined;
  #stop = new AbortController();

  async start(): Promise<void> {
    const { signal } = this.#stop;
    for (let attempt = 0; !signal.aborted; ++attempt) {
      try {
        await this.#read(signal, () => (attempt = 0));
      } catch (fault) {
        if (signal.aborted) return;
        this.fault = fault;
        if (fault instanceof ApiError && fault.status >= 400 && fault.status < 500) return;
      }
      await new Promise((resolve) => setTimeout(resolve, backoffMs(attempt, Math.random())));
    }
  }

  stop(): void {
    this.#stop.abort();
  }

  // A thousand lines come at once in the beginning: they are shown together.
  async #read(signal: AbortSignal, opened: () => void): Promise<void> {
    const headers: Record<string, string> = this.#last === undefined ? {} : { 'Last-Event-ID': this.#last };
    const { body } = await call('/v1/internal/logs', { signal, headers });
    this.fault = undefined;
    opened();
    let waiting: Line[] = [];
    for await (const event of readEvents(body!)) {
      this.#last = event.id ?? this.#last;
      waiting.push({ ...(JSON.parse(event.data) as LogLine), id: Number(event.id) });
      if (waiting.length > 1) continue;
      requestAnimationFrame(() => {
        this.lines = appended(this.lines, waiting);
        waiting = [];
      });
    }
  }
}
