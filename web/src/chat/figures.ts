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
