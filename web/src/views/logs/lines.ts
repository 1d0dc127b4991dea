import type { LogLine } from '../../api/types';

export const levels = ['debug', 'info', 'warning', 'error'] as const;
export type Level = (typeof levels)[number];

// The view keeps as many lines as the node does.
const kept = 1000;

export type Line = LogLine & { id: number };

// `lines` with `more` behind them, the oldest ones gone.
export function appended(lines: Line[], more: Line[]): Line[] {
  return [...lines, ...more].slice(-kept);
}

// Of `least` or worse, and with `search` in the text. A level that this page does not know is shown.
export function filtered(lines: Line[], least: Level, search: string): Line[] {
  const wanted = search.trim().toLowerCase();
  const rank = (level: string): number => {
    const at = (levels as readonly string[]).indexOf(level);
    return at < 0 ? levels.length : at;
  };
  return lines.filter(
    (line) => rank(line.level) >= levels.indexOf(least) && line.text.toLowerCase().includes(wanted),
  );
}
