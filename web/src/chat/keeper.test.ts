import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Conversation, Message } from '../api/types';
import { fitting, nodeKeeper, partsOf } from './keeper';

const talk = (id: string, title: string): Conversation => ({ id, title, leaf: null, messages: [], created: 0, updated: 0 });

describe('partsOf', () => {
  it('keeps each part under the limit, and the order', () => {
    const all = Array.from({ length: 10 }, (_, at) => talk(String(at), 'x'.repeat(100)));
    const parts = partsOf(all, 500);
    expect(parts.length).toBeGreaterThan(3);
    expect(parts.flat()).toEqual(all);
    for (const part of parts) expect(JSON.stringify(part).length).toBeLessThan(502);
  });

  it('sends one that is too large alone, so that the node says why not', () => {
    const parts = partsOf([talk('a', 'x'), talk('b', 'x'.repeat(1000)), talk('c', 'x')], 300);
    expect(parts.map((part) => part.map((one) => one.id).join())).toEqual(['a', 'b', 'c']);
    expect(partsOf([])).toEqual([]);
  });
});

describe('fitting', () => {
  const message: Message = { id: 'm', parent: null, role: 'assistant', content: 'yes', created: 0, updated: 0 };

  it('leaves out probabilities only where the message would be refused', () => {
    const few = { ...message, logprobs: [{ token: 'yes', logprob: 0 }] };
    expect(fitting(few)).toBe(few);
    expect(fitting(message)).toBe(message);
    const many = { ...message, logprobs: [{ token: 'x'.repeat(5 * 1024 * 1024), logprob: 0 }] };
    expect(fitting(many)).toEqual(message);
  });
});

describe('imported', () => {
  afterEach(() => vi.unstubAllGlobals());
  const answers = (...events: unknown[]) =>
    vi.stubGlobal('fetch', async () => new Response(events.map((one) => `data: ${typeof one === 'string' ? one : JSON.stringify(one)}\n\n`).join('')));
  const file = { exo_conversations: 1 as const, data: [talk('a', 'x'), talk('b', 'x')] };

  it('tells how far it is, and gives the last report', async () => {
    answers({ added: 1, updated: 0, unchanged: 0, total: 2 }, { added: 1, updated: 0, unchanged: 1, total: 2 }, '[DONE]');
    const taken: number[] = [];
    expect(await nodeKeeper.imported(file, (count) => taken.push(count))).toEqual({ added: 1, updated: 0, unchanged: 1 });
    expect(taken).toEqual([1, 2]);
  });

  it('fails by an error among the events, and where they end too early', async () => {
    answers({ added: 1, updated: 0, unchanged: 0, total: 2 }, { error: { message: 'the disk is full', code: 'overloaded' } });
    await expect(nodeKeeper.imported(file)).rejects.toThrow('the disk is full');
    answers();
    await expect(nodeKeeper.imported(file)).rejects.toThrow('does not answer');
  });
});
