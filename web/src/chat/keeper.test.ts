import { describe, expect, it } from 'vitest';
import type { Conversation, Message } from '../api/types';
import { fitting, partsOf } from './keeper';

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
