import { expect, test } from 'vitest';
import { appended, filtered, type Line } from './lines';

const line = (id: number, level = 'info', text = `line ${id}`): Line => ({ id, time: 0, level, text });

test('the last 1,000 lines are kept', () => {
  const lines = appended(Array.from({ length: 1000 }, (_, i) => line(i)), [line(1000)]);
  expect(lines).toHaveLength(1000);
  expect(lines[0]!.id).toBe(1);
  expect(lines.at(-1)!.id).toBe(1000);
});

test('lines are chosen by level and text', () => {
  const lines = [line(1, 'debug'), line(2, 'warning', 'The disk is full'), line(3, 'error'), line(4, 'fatal')];
  expect(filtered(lines, 'warning', '').map((one) => one.id)).toEqual([2, 3, 4]);
  expect(filtered(lines, 'debug', ' DISK ').map((one) => one.id)).toEqual([2]);
});
