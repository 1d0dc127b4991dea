import { expect, test } from 'vitest';
import { backoffMs } from './backoff';

test('waits grow to 15 s and no further', () => {
  expect(backoffMs(0, 0)).toBe(250);
  expect(backoffMs(0, 1)).toBe(500);
  expect(backoffMs(3, 1)).toBe(4000);
  expect(backoffMs(5, 1)).toBe(15_000);
  expect(backoffMs(5000, 1)).toBe(15_000);
});
