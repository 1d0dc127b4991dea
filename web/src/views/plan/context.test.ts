import { expect, test } from 'vitest';
import { contextSteps, nearestStep } from './context';

test('the last step is what the model was trained for', () => {
  expect(contextSteps(2048)).toEqual([512, 1024, 2048]);
  expect(contextSteps(3000)).toEqual([512, 1024, 2048, 3000]);
  expect(contextSteps(100)).toEqual([100]);
});

test('the nearest step is found', () => {
  expect(nearestStep([512, 1024, 2048], 1100)).toBe(1);
  expect(nearestStep([512], 9)).toBe(0);
});
