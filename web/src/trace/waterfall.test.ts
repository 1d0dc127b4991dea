import { describe, expect, it } from 'vitest';
import type { Span } from '../api/types';
import { slowTokens, percentile, summaryOf } from './summary';
import { barsOf, lanesOf, moved, ticksOf, tickStep, zoomed } from './waterfall';

// Two stages; the third token waits for the wire.
function spans(tokens: number): Span[] {
  const found: Span[] = [{ name: 'queue', device: 'a', start_us: 0, duration_us: 1000 }];
  let at = 1000;
  for (let token = 0; token < tokens; ++token) {
    const wire = token === 2 ? 90_000 : 1000 + token;
    found.push(
      { name: 'token', device: 'a', token, start_us: at, duration_us: 30_500 + wire },
      { name: 'stage', device: 'a', stage: 0, rows: 1, start_us: at, duration_us: 20_000 },
      { name: 'wire', device: 'a', to: 'b', stage: 0, rows: 1, start_us: at + 20_000, duration_us: wire },
      { name: 'stage', device: 'b', stage: 1, rows: 1, start_us: at + 20_000 + wire, duration_us: 10_000 },
      { name: 'sample', device: 'a', start_us: at + 30_000 + wire, duration_us: 500 },
    );
    at += 30_500 + wire;
  }
  return found;
}

describe('lanesOf', () => {
  it('has a lane for each device and wire, in the order of the stages', () => {
    const lanes = lanesOf(spans(5).reverse());
    expect(lanes.map((one) => one.key)).toEqual([
      'entry|0||', 'step|0||', 'stage|0|a|', 'wire|0|a|b', 'stage|1|b|', 'sample|0|a|',
    ]);
    for (const lane of lanes) {
      const starts = lane.spans.map((one) => one.start_us);
      expect(starts).toEqual([...starts].sort((a, b) => a - b));
    }
  });

  it('leaves out what it does not know', () => {
    expect(lanesOf([{ name: 'novelty' as Span['name'], start_us: 0, duration_us: 1 }])).toEqual([]);
  });
});

describe('barsOf', () => {
  const lane = (length: number, gap: number, duration: number) => lanesOf(
    Array.from({ length }, (_unused, at): Span => ({ name: 'stage', device: 'a', start_us: at * gap, duration_us: duration })),
  )[0]!;

  it('places spans to scale', () => {
    const bars = barsOf(lane(3, 1000, 500), { from: 0, to: 4000, width: 400 });
    expect(bars.map(({ x, width }) => [x, width])).toEqual([[0, 50], [100, 50], [200, 50]]);
  });

  it('shows what is within the view, cut at its edges', () => {
    const bars = barsOf(lane(10, 1000, 1000), { from: 2500, to: 4500, width: 200 });
    expect(bars.map(({ x, width }) => [x, width])).toEqual([[0, 50], [50, 100], [150, 50]]);
  });

  it('joins what is too close, and keeps the longest of it', () => {
    const many = lane(100_000, 10, 5);
    many.spans[500]!.duration_us = 9;
    const bars = barsOf(many, { from: 0, to: 1_000_000, width: 800 });
    expect(bars.length).toBeLessThanOrEqual(400);
    expect(bars.reduce((sum, one) => sum + one.count, 0)).toBe(100_000);
    expect(bars.some((one) => one.span === many.spans[500])).toBe(true);
  });

  it('keeps pauses visible where spans are joined', () => {
    const bars = barsOf(lane(1000, 1000, 100), { from: 0, to: 1_000_000, width: 500 });
    expect(bars).toHaveLength(250);
    expect(bars.every((one) => one.width === 1)).toBe(true);
  });

  it('draws a short one so that it is seen', () => {
    expect(barsOf(lane(1, 1, 1), { from: 0, to: 1e9, width: 300 })[0]!.width).toBe(1);
  });
});

describe('the time axis', () => {
  it('has round marks', () => {
    expect(tickStep(0, 100, 10)).toBe(10);
    expect(tickStep(0, 1_234_567, 6)).toBe(500_000);
    expect(ticksOf(150, 950, 4)).toEqual([200, 400, 600, 800]);
    expect(ticksOf(0, 0, 4)).toEqual([0]);
  });

  it('zooms around a place and stays within the whole', () => {
    expect(zoomed({ from: 0, to: 1000 }, 1000, 0.5, 0)).toEqual({ from: 0, to: 500 });
    expect(zoomed({ from: 0, to: 1000 }, 1000, 0.5)).toEqual({ from: 250, to: 750 });
    expect(zoomed({ from: 250, to: 750 }, 1000, 4)).toEqual({ from: 0, to: 1000 });
    expect(zoomed({ from: 0, to: 150 }, 1000, 0.1)).toEqual({ from: 25, to: 125 });
    expect(moved({ from: 0, to: 500 }, 1000, 0.5)).toEqual({ from: 250, to: 750 });
    expect(moved({ from: 0, to: 500 }, 1000, -1)).toEqual({ from: 0, to: 500 });
  });
});

describe('figures', () => {
  it('takes percentiles that were measured', () => {
    expect(percentile([1, 2, 3, 4], 0.5)).toBe(2);
    expect(percentile([1, 2, 3, 4], 0.95)).toBe(4);
    expect(percentile([], 0.5)).toBe(0);
  });

  it('sums up a lane without comparing prompts with tokens', () => {
    const lane = lanesOf([
      { name: 'stage', device: 'a', rows: 256, start_us: 0, duration_us: 90_000 },
      { name: 'stage', device: 'a', rows: 1, start_us: 90_000, duration_us: 10 },
      { name: 'stage', device: 'a', rows: 1, start_us: 90_010, duration_us: 30 },
    ])[0]!;
    expect(summaryOf(lane)).toMatchObject({ count: 3, total: 90_040, p50: 10, p95: 30, most: 30 });
  });

  it('finds slow tokens and what they waited for', () => {
    const slow = slowTokens(lanesOf(spans(20)));
    expect(slow).toHaveLength(1);
    expect(slow[0]!.step.token).toBe(2);
    expect(slow[0]!.lane!.key).toBe('wire|0|a|b');
    expect(slow[0]!.excess).toBeGreaterThan(80_000);
    expect(slowTokens(lanesOf(spans(2)))).toEqual([]);
  });
});
