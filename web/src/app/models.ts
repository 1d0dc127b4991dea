// What a model's name and the state of the cluster say about it.
import type { Cluster, Model } from '../api/types';

// The quantization in a file's name, as its makers write it: "Q4_K_M"; undefined where it says none.
export function quantizationOf(name: string): string | undefined {
  const found = /(?:^|[-_.:])((?:UD-)?I?Q\d(?:_[A-Z0-9]+)*|BF16|F16|F32|MXFP4)(?=$|[-_.:@])/i.exec(name);
  return found?.[1]?.toUpperCase();
}

// Names of the devices that are here and have all of its file. A file that was only made known to
// this device is not among those that others may take from it.
export function holdersOf(model: Model, cluster: Cluster | undefined): string[] {
  const here = cluster?.nodes.filter((node) => node.state === 'self' || node.state === 'alive') ?? [];
  return here
    .filter((node) => (node.state === 'self' && model.exo.local) || node.models.some((held) => held.id === model.exo.model_id && held.complete))
    .map((node) => node.name);
}

// Those with all words of `search` in one of their names, loaded ones first, then by name.
export function found(models: Model[], search: string): Model[] {
  const wanted = search.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (model: Model): boolean => {
    const names = [model.id, ...model.exo.names, model.exo.architecture].join(' ').toLowerCase();
    return wanted.every((word) => names.includes(word));
  };
  const rank = (model: Model): number => (model.exo.state === '' ? 1 : 0);
  return models.filter(matches).sort((a, b) => rank(a) - rank(b) || a.id.localeCompare(b.id));
}
