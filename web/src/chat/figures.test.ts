import { describe, expect, it } from 'vitest';
import { dayOf, kib } from './figures';

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
