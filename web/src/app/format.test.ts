import { expect, test } from 'vitest';
import { setLanguage } from '../words/index.svelte';
import { ago, bytes, duration, milliseconds, percent, rate } from './format';

await setLanguage('en');

test('bytes have decimal units and two digits at least', () => {
  expect(bytes(0)).toBe('0 B');
  expect(bytes(1023)).toBe('1,023 B');
  expect(bytes(1024)).toBe('1.0 KiB');
  expect(bytes(5.03 * 2 ** 30)).toBe('5.0 GiB');
  expect(bytes(9.96 * 2 ** 30)).toBe('10 GiB');
  expect(bytes(42.5 * 2 ** 30)).toBe('43 GiB');
  expect(bytes(1023.6 * 2 ** 10)).toBe('1.0 MiB');
  expect(bytes(-5)).toBe('0 B');
});

test('times are told in two units at most', () => {
  expect(duration(59.4)).toBe('59 s');
  expect(duration(294)).toBe('4 min 54 s');
  expect(duration(7500)).toBe('2 h 5 min');
  expect(milliseconds(3.21)).toBe('3.2 ms');
  expect(milliseconds(640)).toBe('640 ms');
  expect(milliseconds(1500)).toBe('1.5 s');
});

test('speeds keep the digits that matter', () => {
  expect(rate(0)).toBe('0.0');
  expect(rate(0.523)).toBe('0.52');
  expect(rate(21.44)).toBe('21.4');
  expect(rate(128.4)).toBe('128');
});

test('the language of the page is used', async () => {
  await setLanguage('de');
  expect(bytes(5.03 * 2 ** 30)).toBe('5,0 GiB');
  expect(percent(0.62)).toMatch(/^62\s%$/);
  await setLanguage('en');
  expect(ago(0, 5 * 60_000)).toBe('5 minutes ago');
  expect(ago(0, 1000 * 86_400_000)).toBe('3 years ago');
});
