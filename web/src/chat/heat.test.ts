import { describe, expect, it } from 'vitest';
import { heatOf, percent, visible } from './heat';

describe('heatOf', () => {
  it('has a class for each part of the legend', () => {
    expect([0.01, 0.05, 0.3, 0.5, 0.9, 0.95, 1].map((one) => heatOf(Math.log(one) + 1e-12))).toEqual([0, 1, 2, 3, 4, 5, 5]);
    expect(heatOf(-9999)).toBe(0);
  });
});

describe('percent', () => {
  it('is short', () => {
    expect(percent(Math.log(0.123456), 'en')).toBe('12.3%');
    expect(percent(0, 'en')).toBe('100%');
    expect(percent(-9999, 'en')).toBe('0%');
  });
});

describe('visible', () => {
  it('shows what has no shape', () => {
    expect(visible(' a')).toBe(' a');
    expect(visible('  ')).toBe('␣␣');
    expect(visible('\n')).toBe('↵\n');
    expect(visible('')).toBe('∅');
  });
});
