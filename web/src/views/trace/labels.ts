// Words for the parts of a trace.
import { count, milliseconds } from '../../app/format';
import type { Bar, Lane } from '../../trace/waterfall';
import { words } from '../../words/index.svelte';

export function nameOf({ kind, device, to }: Lane): string {
  return words.trace.lanes[kind](device, to);
}

export function textOf({ span, count: spans }: Bar): string {
  return [
    spans > 1 ? words.trace.several(count(spans)) : '',
    words.trace.spans[span.name],
    span.name === 'token' && span.token !== undefined ? count(span.token) : '',
    span.rows !== undefined && span.rows > 1 ? `(${words.trace.rows(count(span.rows))})` : '',
    milliseconds(span.duration_us / 1000),
  ].filter(Boolean).join(' ');
}
