// Between a setting's value and the text of its field.
import type { Setting } from '../../api/types';
import { words } from '../../words/index.svelte';

// What the field is: `switch` for yes and no, `lines` for a list, `number`, `text`.
export type FieldKind = 'switch' | 'lines' | 'number' | 'text';

export function fieldOf(setting: Setting): FieldKind {
  const values = [setting.value, setting.default];
  if (values.some((one) => typeof one === 'boolean') || setting.kind === 'boolean') return 'switch';
  if (values.some(Array.isArray) || setting.kind === 'list') return 'lines';
  if (values.some((one) => typeof one === 'number')) return 'number';
  return 'text';
}

export function textOf(value: unknown): string {
  if (value === null || value === undefined) return '';
  return Array.isArray(value) ? value.join('\n') : String(value);
}

// The value that the text of a field means. A number that is none stays text: the node says what is
// wrong with it.
export function valueOf(text: string, kind: FieldKind): unknown {
  const trimmed = text.trim();
  if (kind === 'lines') return trimmed === '' ? [] : trimmed.split(/\s*\n\s*/);
  if (kind === 'number' && trimmed !== '' && Number.isFinite(Number(trimmed))) return Number(trimmed);
  return trimmed;
}

export function matches(setting: Setting, search: string): boolean {
  const text = `${setting.name} ${setting.help} ${words.node(setting.help)}`.toLowerCase();
  return search.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}
