// Figures of a trace, for the tables beside the picture. Durations are microseconds.
import type { Span } from '../api/types';
import { endOf, type Lane } from './waterfall';

export interface LaneSummary {
  lane: Lane;
  count: number;
  total: number;
  p50: number;
  p95: number;
  most: number;
}

// The smallest of `sorted` that at least `part` of them do not exceed.
export function percentile(sorted: number[], part: number): number {
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? 0;
}

// Steps of the prompt carry many rows: they are not compared with those of single tokens.
function compared(lane: Lane): Span[] {
  const tokens = lane.spans.filter((one) => one.name !== 'prompt' && (one.rows ?? 1) <= 1);
  return tokens.length > 0 ? tokens : lane.spans;
}

export function summaryOf(lane: Lane): LaneSummary {
  const sorted = compared(lane).map((one) => one.duration_us).sort((a, b) => a - b);
  return {
    lane,
    count: lane.spans.length,
    total: lane.spans.reduce((sum, one) => sum + one.duration_us, 0),
    p50: percentile(sorted, 0.5),
    p95: percentile(sorted, 0.95),
    most: sorted.at(-1) ?? 0,
  };
}

// A token that took so many times the median is slow, where it is at least a millisecond more.
const slowFactor = 2;
const slowLeastUs = 1000;

export interface SlowToken {
  step: Span;
  // The part of it that took longest beyond its own median, and by how much.
  lane: Lane | undefined;
  excess: number;
}

// Slow tokens, the slowest first, and what they waited for.
export function slowTokens(lanes: Lane[]): SlowToken[] {
  const steps = lanes.filter((one) => one.kind === 'step').flatMap((one) => one.spans).filter((one) => one.name === 'token');
  const p50 = percentile(steps.map((one) => one.duration_us).sort((a, b) => a - b), 0.5);
  const slow = steps.filter((one) => one.duration_us > slowFactor * p50 && one.duration_us > p50 + slowLeastUs);
  const parts = lanes.filter((one) => !['entry', 'step'].includes(one.kind)).map((lane) => ({ lane, p50: summaryOf(lane).p50 }));
  return slow.map((step) => ({ step, ...blame(step, parts) })).sort((a, b) => b.step.duration_us - a.step.duration_us);
}

function blame(step: Span, parts: { lane: Lane; p50: number }[]): { lane: Lane | undefined; excess: number } {
  let worst: { lane: Lane | undefined; excess: number } = { lane: undefined, excess: 0 };
  for (const { lane, p50 } of parts) {
    for (const span of lane.spans) {
      if (span.start_us >= endOf(step)) break;
      const inside = span.start_us >= step.start_us && (span.choice ?? 0) === (step.choice ?? 0);
      if (inside && span.duration_us - p50 > worst.excess) worst = { lane, excess: span.duration_us - p50 };
    }
  }
  return worst;
}
