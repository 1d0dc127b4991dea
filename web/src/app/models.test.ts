import { expect, test } from 'vitest';
import type { Cluster, Model } from '../api/types';
import { found, holdersOf, quantizationOf } from './models';

const model = (id: string, extra: Partial<Model['exo']> = {}): Model => ({
  id, created: 0, context_length: 1,
  exo: {
    model_id: id, architecture: 'llama', layers: 1, bytes: 1, local: true, held: true, names: [id], state: '',
    base: null, draft: null, ...extra,
  },
});

test('the quantization is read from the name', () => {
  expect(quantizationOf('Qwen3-8B-Q4_K_M')).toBe('Q4_K_M');
  expect(quantizationOf('gemma-3-27b-it-q4_0')).toBe('Q4_0');
  expect(quantizationOf('x-UD-Q4_K_XL@1a2b')).toBe('UD-Q4_K_XL');
  expect(quantizationOf('x.IQ3_XXS')).toBe('IQ3_XXS');
  expect(quantizationOf('llama3.2:1b')).toBeUndefined();
  expect(quantizationOf('smol-bf16')).toBe('BF16');
});

test('all words are looked for in all names, and loaded models come first', () => {
  const all = [model('b-llama'), model('a-llama', { names: ['a-llama', 'hf:x/Chat'] }), model('c', { state: 'ready' })];
  expect(found(all, '').map((one) => one.id)).toEqual(['c', 'a-llama', 'b-llama']);
  expect(found(all, 'LLAMA chat').map((one) => one.id)).toEqual(['a-llama']);
  expect(found(all, 'nothing')).toEqual([]);
});

test('a device that is away, or has a part only, holds no file', () => {
  const node = (name: string, state: string, complete: boolean) =>
    ({ name, state, models: [{ id: 'm', name: 'm', bytes: 1, complete }] });
  const cluster = { nodes: [node('a', 'self', true), node('b', 'alive', false), node('c', 'dead', true)] };
  expect(holdersOf(model('m', { local: false }), cluster as unknown as Cluster)).toEqual(['a']);
  expect(holdersOf(model('other', { local: false }), cluster as unknown as Cluster)).toEqual([]);
  expect(holdersOf(model('other'), cluster as unknown as Cluster)).toEqual(['a']);
  expect(holdersOf(model('m'), undefined)).toEqual([]);
});
