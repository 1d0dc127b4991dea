import { describe, expect, it } from 'vitest';
import type { Message } from '../api/types';
import { openCalls } from './tools';

const call = (id: string) => ({ id, type: 'function' as const, function: { name: 'f', arguments: '{}' } });
const say = (fields: Partial<Message>): Message =>
  ({ id: 'x', parent: null, role: 'assistant', content: '', created: 0, updated: 0, ...fields });

describe('openCalls', () => {
  it('tells the calls whose results are missing', () => {
    const asked = say({ tool_calls: [call('a'), call('b')] });
    expect(openCalls([asked]).map((one) => one.id)).toEqual(['a', 'b']);
    expect(openCalls([asked, say({ role: 'tool', tool_call_id: 'a' })]).map((one) => one.id)).toEqual(['b']);
    expect(openCalls([asked, say({ role: 'tool', tool_call_id: 'a' }), say({ content: 'done' })])).toEqual([]);
    expect(openCalls([])).toEqual([]);
  });
});
