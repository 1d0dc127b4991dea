// Amounts in words, in the language of the page.
import { currentLanguage } from '../words/index.svelte';

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

function number(value: number, digits: number): string {
  return value.toLocaleString(currentLanguage(), { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// The units of the command line (src/base/units.h): 5.0 GiB, 41 GiB, 0 B.
export function bytes(amount: number): string {
  let value = Math.max(0, amount);
  let unit = 0;
  while (value >= 1023.5 && unit + 1 < units.length) {
    value /= 1024;
    ++unit;
  }
  return `${number(value, unit > 0 && value < 9.95 ? 1 : 0)} ${units[unit]}`;
}

export function percent(part: number): string {
  return part.toLocaleString(currentLanguage(), { style: 'percent', maximumFractionDigits: 0 });
}

// A speed or a time to read at a glance: 21.4, 128, 0.52.
export function rate(value: number): string {
  return number(value, value >= 99.95 ? 0 : value >= 0.995 || value === 0 ? 1 : 2);
}

export function count(value: number): string {
  return value.toLocaleString(currentLanguage());
}

// 12 s, 4 min 54 s, 2 h 5 min.
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${count(Math.floor(whole / 3600))} h ${Math.floor((whole % 3600) / 60)} min`;
}

export function milliseconds(value: number): string {
  return value < 1000 ? `${number(value, value < 9.95 ? 1 : 0)} ms` : `${number(value / 1000, 1)} s`;
}

// A point in time, milliseconds since 1970.
export function moment(time: number): string {
  return new Date(time).toLocaleString(currentLanguage(), { dateStyle: 'medium', timeStyle: 'short' });
}

const steps: [Intl.RelativeTimeFormatUnit, number][] = [
  ['second', 60], ['minute', 60], ['hour', 24], ['day', 30], ['month', 12], ['year', Infinity],
];

// "5 minutes ago". `now` and `time`: milliseconds since 1970.
export function ago(time: number, now: number): string {
  let value = (time - now) / 1000;
  for (const [unit, size] of steps) {
    if (Math.abs(value) < size)
      return new Intl.RelativeTimeFormat(currentLanguage(), { numeric: 'auto' }).format(Math.round(value), unit);
    value /= size;
  }
  return moment(time);
}
