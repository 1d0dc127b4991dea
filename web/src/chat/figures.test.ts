import { describe, expect, it } from 'vitest';
import { dayOf, figure, kib } from './figures';

describe('figure', () => {
  it('has the digits that count', () => {
    expect([0.0642, 0.42, 4.24, 21.44, 310.4].map((one) => figure(one, 'en'))).toEqual(['0.064', '0.42', '4.2', '21.4', '310']);
    expect(figure(21.44, 'de')).toBe('21,4');
  });
});

describe('kib', () => {
  it('rounds up', () => expect([1, 1024, 1025].map(kib)).toEqual([1, 1, 2]));
});

describe('dayOf', () => {
  it('tells the time of today, else the day', () => {
    const now = new Date(2026, 10, 28, 12, 0).getTime();
    expect(dayOf(new Date(2026, 10, 28, 9, 5).getTime(), now, 'de')).toBe('09:05');
    expect(dayOf(new Date(2026, 10, 2).getTime(), now, 'en')).toBe('Nov 2');
    expect(dayOf(new Date(2025, 10, 2).getTime(), now, 'en')).toBe('Nov 2, 2025');
  });
});
