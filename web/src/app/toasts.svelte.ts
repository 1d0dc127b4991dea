// Short notices at the edge of the page, said once to screen readers.
export interface Toast {
  id: number;
  kind: 'info' | 'good' | 'bad';
  text: string;
  // What may be done about it, such as "Undo".
  action?: { label: string; run: () => void };
}

let next = 0;
export const toasts = $state<Toast[]>([]);

// Shows a notice for some seconds; one that tells of a failure stays until it is dismissed, the same view succeeds in
// something, or another view is shown.
export function toast(text: string, options: Partial<Pick<Toast, 'kind' | 'action'>> = {}): void {
  const id = next++;
  const kind = options.kind ?? 'info';
  if (kind === 'good') dismissFailures();
  toasts.push({ id, kind, text, ...(options.action ? { action: options.action } : {}) });
  if (kind !== 'bad') setTimeout(() => dismiss(id), options.action ? 10_000 : 5000);
}

export function dismiss(id: number): void {
  const at = toasts.findIndex((one) => one.id === id);
  if (at >= 0) toasts.splice(at, 1);
}

function dismissFailures(): void {
  for (const one of toasts.filter(({ kind }) => kind === 'bad')) dismiss(one.id);
}

addEventListener('hashchange', dismissFailures);
