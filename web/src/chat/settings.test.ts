import { describe, expect, it } from 'vitest';
import { readSettings, readTools } from './settings';

describe('readSettings', () => {
  it('keeps what is a setting', () => {
    const all = { system: 's', temperature: 0, top_k: -1, seed: 7, reasoning_effort: 'low', alternatives: 5, tools: '[]' };
    expect(readSettings(all)).toEqual(all);
  });

  it('drops what is none', () => {
    expect(readSettings({ temperature: 9, top_p: 'x', seed: -1, reasoning_effort: 'much', alternatives: 0, evil: 1 }))
      .toEqual({});
    for (const raw of [null, undefined, 'x', 3, []]) expect(readSettings(raw)).toEqual({});
  });
});

describe('readTools', () => {
  it('takes a list, and nothing else', () => {
    expect(readTools('[{"type": "function"}]')).toHaveLength(1);
    expect(() => readTools('{}')).toThrow();
    expect(() => readTools('[')).toThrow();
  });
});
