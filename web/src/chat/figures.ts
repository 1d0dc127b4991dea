// A figure for people: three digits that count, "0.064", "4.2", "21.4", "310".
export function figure(value: number, language: string): string {
  const digits = value >= 100 ? 0 : value >= 1 ? 1 : value >= 0.1 ? 2 : 3;
  return value.toLocaleString(language, { maximumFractionDigits: digits });
}

// Bytes in KiB, rounded up: what is over a limit never looks as if it were at it.
export function kib(bytes: number): number {
  return Math.ceil(bytes / 1024);
}

// When it was, as short as a list wants it: the time of today, or the day. Milliseconds since 1970.
export function dayOf(time: number, now: number, language: string): string {
  const [date, today] = [new Date(time), new Date(now)];
  if (date.toDateString() === today.toDateString()) {
    return date.toLocaleTimeString(language, { hour: '2-digit', minute: '2-digit' });
  }
  const sameYear = date.getFullYear() === today.getFullYear();
  return date.toLocaleDateString(language, { day: 'numeric', month: 'short', ...(sameYear ? {} : { year: 'numeric' }) });
}
