// Which model a new conversation asks: the last chosen one while it is there, else one that is
// loaded, else the first.
import { live } from '../api/stream.svelte';
import type { Model } from '../api/types';

const key = 'exo.model';

export function rememberModel(name: string): void {
  localStorage.setItem(key, name);
}

export function preferredModel(): string {
  return choose(live.models ?? [], localStorage.getItem(key));
}

export function choose(models: Model[], last: string | null): string {
  const found = models.find((one) => one.id === last) ?? models.find((one) => one.exo.state === 'ready') ?? models[0];
  return found?.id ?? '';
}
