// Where the time of a request went, as lanes of bars: first what the entry did, then the steps of
// the model, then of each stage what it computed and what its wire took. All times are microseconds
// since the request's start.
import type { Span } from '../api/types';

export type LaneKind = 'entry' | 'step' | 'stage' | 'wire' | 'sample';

export interface Lane {
  key: string;
  kind: LaneKind;
  device: string;
  // Of a wire: who gets the rows; '' where devices wait for each other.
  to: string;
  stage: number;
  // By their start.
  spans: Span[];
}

const kinds: Record<Span['name'], LaneKind> = {
  queue: 'entry', load: 'entry', template: 'entry', tokenize: 'entry',
  prompt: 'step', token: 'step', stage: 'stage', wire: 'wire', sample: 'sample',
};
// Of one stage: its computing, then its wire.
const order: LaneKind[] = ['entry', 'step', 'stage', 'wire', 'sample'];

export function endOf(span: Span): number {
  return span.start_us + span.duration_us;
}

export function lanesOf(spans: Span[]): Lane[] {
  const lanes = new Map<string, Lane>();
  for (const span of spans) {
    const kind = kinds[span.name];
    // A newer node may tell of what this page does not know.
    if (kind === undefined) continue;
    const stage = kind === 'stage' || kind === 'wire' ? (span.stage ?? 0) : 0;
    const device = kind === 'entry' || kind === 'step' ? '' : (span.device ?? '');
    const to = kind === 'wire' ? (span.to ?? '') : '';
    const key = [kind, stage, device, to].join('|');
    const lane = lanes.get(key);
    if (lane) lane.spans.push(span);
    else lanes.set(key, { key, kind, device, to, stage, spans: [span] });
  }
  for (const lane of lanes.values()) lane.spans.sort((a, b) => a.start_us - b.start_us);
  return [...lanes.values()].sort(byPlace);
}

function byPlace(a: Lane, b: Lane): number {
  const group = (lane: Lane): number =>
    lane.kind === 'entry' ? 0 : lane.kind === 'step' ? 1 : lane.kind === 'sample' ? 3 : 2;
  return (
    group(a) - group(b) || a.stage - b.stage || order.indexOf(a.kind) - order.indexOf(b.kind) ||
    a.device.localeCompare(b.device) || a.to.localeCompare(b.to)
  );
}

export interface View {
  from: number;
  to: number;
  // Of the picture, in px.
  width: number;
}

export interface Bar {
  x: number;
  width: number;
  // The only span, or the longest of those that are too close to be told apart.
  span: Span;
  count: number;
}

// Narrower bars could not be seen.
const leastPx = 1;
// Of small bars that begin within so many pixels only one is drawn.
const cellPx = 2;

// What is seen of a lane: at most a bar for each two pixels, however many spans there are. A bar of
// several spans is as wide as they are together.
export function barsOf(lane: Lane, { from, to, width }: View): Bar[] {
  const scale = width / Math.max(1, to - from);
  const bars: Bar[] = [];
  // Of the last bar, without widening.
  let busy = 0;
  for (const span of lane.spans) {
    if (endOf(span) < from) continue;
    if (span.start_us > to) break;
    const x = Math.max(0, (span.start_us - from) * scale);
    const length = Math.min(width, (endOf(span) - from) * scale) - x;
    const last = bars.at(-1);
    if (last && Math.max(busy, length) < cellPx && Math.floor(x / cellPx) === Math.floor(last.x / cellPx)) {
      busy += length;
      last.width = Math.max(leastPx, busy);
      last.count += 1;
      if (span.duration_us > last.span.duration_us) last.span = span;
    } else {
      busy = length;
      bars.push({ x, width: Math.max(leastPx, length), span, count: 1 });
    }
  }
  return bars;
}

// A round distance between marks of the time axis, so that about `wanted` of them are seen.
export function tickStep(from: number, to: number, wanted: number): number {
  const rough = Math.max(1, (to - from) / Math.max(1, wanted));
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5, 10].find((one) => one * power >= rough) ?? 10);
}

export function ticksOf(from: number, to: number, wanted: number): number[] {
  const step = tickStep(from, to, wanted);
  const ticks: number[] = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) ticks.push(at);
  return ticks;
}

// The part of `whole` after zooming by `factor` (below 1: closer) around `center`.
export function zoomed(view: { from: number; to: number }, whole: number, factor: number, center?: number): { from: number; to: number } {
  const least = Math.min(whole, 100);
  const length = Math.min(whole, Math.max(least, (view.to - view.from) * factor));
  const middle = center ?? (view.from + view.to) / 2;
  const share = (middle - view.from) / Math.max(1, view.to - view.from);
  return kept(middle - share * length, length, whole);
}

// Moved by `part` of its length.
export function moved(view: { from: number; to: number }, whole: number, part: number): { from: number; to: number } {
  const length = view.to - view.from;
  return kept(view.from + part * length, length, whole);
}

function kept(from: number, length: number, whole: number): { from: number; to: number } {
  const begin = Math.max(0, Math.min(whole - length, from));
  return { from: begin, to: begin + length };
}
