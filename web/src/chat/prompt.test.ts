import { describe, expect, it } from 'vitest';
import type { Message } from '../api/types';
import { completionBody, contentOf, titleOf } from './prompt';

const say = (fields: Partial<Message>): Message =>
  ({ id: 'x', parent: null, role: 'user', content: 'hi', created: 0, updated: 0, ...fields });

describe('completionBody', () => {
  it('sends the branch behind what the system says', () => {
    const body = completionBody('m', [say({}), say({ role: 'assistant', content: 'yes', reasoning: 'hm' })], {
      system: 'Be short.', temperature: 0, alternatives: 5,
    });
    expect(body).toEqual({
      model: 'm', stream: true, stream_options: { include_usage: true },
      temperature: 0, logprobs: true, top_logprobs: 5,
      messages: [
        { role: 'system', content: 'Be short.' },
        { role: 'user', content: 'hi' },
        { role: 'assistant', content: 'yes' },
      ],
    });
  });

  it('asks no question again that got no answer', () => {
    const body = completionBody('m', [say({ content: 'too long' }), say({ content: 'short' })], {});
    expect(body).toMatchObject({ messages: [{ role: 'user', content: 'short' }] });
  });

  it('sends calls with their results, and the tools', () => {
    const call = { id: 'c', type: 'function' as const, function: { name: 'f', arguments: '{}' } };
    const body = completionBody('m', [
      say({ role: 'assistant', content: '', tool_calls: [call] }),
      say({ role: 'tool', content: '7', tool_call_id: 'c' }),
    ], { tools: '[{"type": "function"}]' });
    expect(body).toMatchObject({
      tools: [{ type: 'function' }],
      messages: [{ tool_calls: [call] }, { role: 'tool', tool_call_id: 'c', content: '7' }],
    });
  });
});

describe('contentOf', () => {
  it('puts files before the question, in fences that they cannot close', () => {
    const attachments = [{ name: 'a.md', kind: 'text/markdown', text: '```\nx\n```\n' }];
    expect(contentOf(say({ attachments }))).toBe('File a.md:\n````\n```\nx\n```\n````\n\nhi');
    expect(contentOf(say({ attachments, content: '' }))).toMatch(/````$/);
  });
});

describe('titleOf', () => {
  it('is the beginning of the question', () => {
    expect(titleOf('  Why is\tthe sky blue?\nI wonder.')).toBe('Why is the sky blue?');
    expect(titleOf('word '.repeat(40))).toBe('word '.repeat(12).trim() + '…');
    expect(titleOf('🙂'.repeat(100))).toBe('🙂'.repeat(60) + '…');
    expect(titleOf('')).toBe('');
  });
});
