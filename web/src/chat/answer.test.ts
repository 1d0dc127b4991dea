import { describe, expect, it } from 'vitest';
import { Answer, devicesOf, type Chunk } from './answer';

const delta = (fields: object, more: object = {}): Chunk => ({ choices: [{ delta: fields, ...more }] });

describe('Answer', () => {
  it('joins what is thought, said and called', () => {
    const answer = new Answer(0, {});
    expect(answer.empty).toBe(true);
    answer.add(delta({ role: 'assistant', content: '' }), 10);
    answer.add(delta({ reasoning_content: 'Hm', reasoning: 'Hm' }), 20);
    answer.add(delta({ content: 'Ye' }), 30);
    answer.add(delta({ content: 's.' }), 40);
    answer.add(delta({ tool_calls: [{ index: 1, id: 'b', function: { name: 'g', arguments: '' } }] }), 50);
    answer.add(delta({ tool_calls: [{ index: 0, id: 'a', function: { name: 'f', arguments: '{"x"' } }] }), 50);
    answer.add(delta({ tool_calls: [{ index: 0, function: { arguments: ':1}' } }] }), 50);
    answer.add(delta({}, { finish_reason: 'tool_calls' }), 60);
    const { content, reasoning, tool_calls: calls } = answer.part();
    expect(content).toBe('Yes.');
    expect(reasoning).toBe('Hm');
    expect(calls!.map((one) => [one.id, one.function.name, one.function.arguments])).toEqual([
      ['a', 'f', '{"x":1}'], ['b', 'g', ''],
    ]);
    expect(answer.finish).toBe('tool_calls');
    expect(answer.empty).toBe(false);
  });

  it('measures until the server tells its figures', () => {
    const answer = new Answer(1000, { devices: ['desk'] });
    answer.add(delta({ content: 'a' }), 1500);
    expect(answer.part().stats).toEqual({ devices: ['desk'], ttft_ms: 500, completion_tokens: 1 });
    answer.add(delta({ content: 'b' }), 1600);
    answer.add(delta({ content: 'c' }), 1700);
    expect(answer.part().stats).toMatchObject({ tokens_per_second: 10, completion_tokens: 3 });
    answer.add({
      choices: [{ delta: {}, finish_reason: 'stop' }],
      exo: { ttft_ms: 480, tokens_per_second: 11, stages: [{ node: 'desk' }, { node: 'nuc' }, { node: 'desk' }] },
    }, 1800);
    answer.add({
      choices: [],
      usage: { prompt_tokens: 7, completion_tokens: 4, prompt_tokens_details: { cached_tokens: 2 } },
    }, 1800);
    expect(answer.part().stats).toEqual({
      devices: ['desk', 'nuc'], ttft_ms: 480, tokens_per_second: 11,
      prompt_tokens: 7, completion_tokens: 4, cached_tokens: 2,
    });
  });

  it('keeps the probabilities in the order of the tokens', () => {
    const answer = new Answer(0, {});
    for (const token of ['a', 'b']) {
      answer.add(delta({ content: token }, { logprobs: { content: [{ token, logprob: -1.234567, bytes: [97], top_logprobs: [{ token: 'x', logprob: -2, bytes: [120] }] }] } }), 1);
    }
    answer.add(delta({}, { logprobs: null, finish_reason: 'length' }), 2);
    expect(answer.part().logprobs).toEqual(
      ['a', 'b'].map((token) => ({ token, logprob: -1.2346, top_logprobs: [{ token: 'x', logprob: -2 }] })),
    );
  });

  it('throws the error that a stream ends with', () => {
    const answer = new Answer(0, {});
    answer.add(delta({ content: 'so far' }), 1);
    expect(() => answer.add({ error: { message: 'the device is gone', code: 'device_lost' } }, 2))
      .toThrow('the device is gone');
    expect(answer.part().content).toBe('so far');
  });
});

describe('devicesOf', () => {
  it('reads the route of an answer', () => {
    expect(devicesOf('kitchen;layers=0-3, desk;layers=4-7')).toEqual(['kitchen', 'desk']);
    expect(devicesOf(null)).toEqual([]);
  });
});
