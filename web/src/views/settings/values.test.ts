import { expect, test } from 'vitest';
import type { Setting } from '../../api/types';
import { fieldOf, matches, textOf, valueOf } from './values';

const setting = (value: unknown, extra: Partial<Setting> = {}): Setting => ({
  name: 'memory_limit', value, origin: 'default', default: value, kind: '', help: 'How much memory', restart: false, ...extra,
});

test('the field follows the value', () => {
  expect(fieldOf(setting(true))).toBe('switch');
  expect(fieldOf(setting(['a']))).toBe('lines');
  expect(fieldOf(setting('', { kind: 'list' }))).toBe('lines');
  expect(fieldOf(setting(3))).toBe('number');
  expect(fieldOf(setting('3GiB'))).toBe('text');
  expect(fieldOf(setting(null))).toBe('text');
});

test('what is shown means what was read', () => {
  expect(valueOf(textOf(['a', 'b']), 'lines')).toEqual(['a', 'b']);
  expect(valueOf(' a \n\n b ', 'lines')).toEqual(['a', 'b']);
  expect(valueOf('', 'lines')).toEqual([]);
  expect(valueOf(textOf(0.5), 'number')).toBe(0.5);
  expect(valueOf('many', 'number')).toBe('many');
  expect(textOf(null)).toBe('');
});

test('all words of a search are looked for', () => {
  expect(matches(setting(1), 'MEMORY much')).toBe(true);
  expect(matches(setting(1), 'disk')).toBe(false);
});
