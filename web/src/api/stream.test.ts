import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { connect, live, onConversations } from './stream.svelte';

// What each connection in turn answers: its text, then its end.
let lines: (string | number)[] = [];
let asked: Record<string, string>[] = [];

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(1); // the longest pauses
  asked = [];
  vi.stubGlobal('fetch', async (path: string, init: RequestInit) => {
    if (path === '/v1/models') return new Response('{"data": [{"id": "m"}]}');
    asked.push(init.headers as Record<string, string>);
    const next = lines.shift();
    if (typeof next === 'string') return new Response(next);
    if (typeof next === 'number') return new Response('{"error": {"message": "no", "code": "x"}}', { status: next });
    return new Promise<Response>(() => {});
  });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

test('states are kept, and a cut line is taken up after what was read', async () => {
  lines = [
    'id: 5\nevent: resync\ndata: {"sequence": 5}\n\nevent: requests\ndata: {"data": [{"id": "r"}]}\n\nevent: pulls\ndata: []\n\n',
    'event: missed\ndata: {"sequence": 9}\n\nevent: conversations\ndata: {"changed": ["c"], "deleted": []}\n\n',
  ];
  const notices: unknown[] = [];
  const end = onConversations((notice) => notices.push(notice));
  void connect();
  await vi.advanceTimersByTimeAsync(0);
  expect(live.requests).toEqual([{ id: 'r' }]);
  expect(live.pulls).toEqual([]);
  expect(live.connection).toBe('lost');
  await vi.advanceTimersByTimeAsync(600);
  expect(asked.map((one) => one['Last-Event-ID'])).toEqual([undefined, '5']);
  // The gap may have hidden notices; the node says so, too.
  expect(notices).toEqual(['all', 'all', { changed: ['c'], deleted: [] }]);
  end();
});

test('failures are tried again more and more rarely', async () => {
  lines = [503, 503, 503, 503];
  void connect();
  await vi.advanceTimersByTimeAsync(500);
  expect(asked.length).toBeGreaterThanOrEqual(2);
  await vi.advanceTimersByTimeAsync(3500);
  expect(asked.length).toBeLessThanOrEqual(5);
  expect(live.connection).toBe('lost');
});

test('who may not listen is not asked again, and still gets the models', async () => {
  lines = [403];
  await connect();
  expect(live.connection).toBe('denied');
  expect(live.models).toEqual([{ id: 'm' }]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toHaveLength(1);
});
