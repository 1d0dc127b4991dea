// What is known of a device now, from the cluster's state and the last telemetry.
import type { Cluster, ClusterNode, DeviceTelemetry, Instance, NodeState, Telemetry } from '../api/types';

export interface DeviceFacts {
  id: string;
  name: string;
  self: boolean;
  state: NodeState;
  // It answers, as far as is known.
  here: boolean;
  // The main processor's kind: the fastest one's.
  kind: 'cpu' | 'gpu';
  memoryTotal: number;
  // By models of exo; by all programs, where that is known.
  memoryExo: number;
  memoryUsed: number | undefined;
  // Of other programs, 0 to 1.
  load: number | undefined;
  temperature: number | undefined;
  hot: boolean;
  onBattery: boolean;
  charge: number | undefined;
  // The part of itself that it gives to models.
  share: number;
  health: string;
  held: HeldLayers[];
}
export interface HeldLayers {
  model: string;
  begin: number;
  end: number;
  of: number;
  // It has the first layers, samples the tokens and knows their text.
  leads: boolean;
}

const present: NodeState[] = ['self', 'alive', 'connecting'];

export function factsOf(cluster: Cluster, telemetry: Telemetry | undefined): DeviceFacts[] {
  const told = new Map(telemetry?.devices.map((one) => [one.id, one]));
  const held = heldLayers(cluster.instances);
  return cluster.nodes.map((node) => facts(node, told.get(node.id), held.get(node.id) ?? []));
}

function facts(node: ClusterNode, now: DeviceTelemetry | undefined, held: HeldLayers[]): DeviceFacts {
  const fastest = [...node.devices].sort((a, b) => b.prefill_gops - a.prefill_gops)[0];
  return {
    id: node.id,
    name: node.name,
    self: node.state === 'self',
    state: node.state,
    here: present.includes(node.state),
    kind: fastest?.kind ?? 'cpu',
    memoryTotal: now?.memory_total ?? node.memory_total,
    memoryExo: now?.memory_exo ?? node.memory_reserved,
    memoryUsed: now?.memory_used,
    load: now?.load ?? node.health.other_load,
    temperature: now?.temperature_c,
    hot: now?.throttled ?? node.health.heat === 'hot',
    onBattery: (now?.power ?? node.health.power) === 'battery',
    charge: now?.charge ?? node.health.charge,
    share: now?.share ?? node.health.share,
    health: node.health.text,
    held,
  };
}

function heldLayers(instances: Instance[]): Map<string, HeldLayers[]> {
  const held = new Map<string, HeldLayers[]>();
  for (const instance of instances) {
    for (const [i, stage] of instance.stages.entries()) {
      const range = { begin: stage.layer_begin, end: stage.layer_end, of: instance.layers };
      const entry = { model: instance.model, leads: i === 0, ...range };
      held.set(stage.node_id, [...(held.get(stage.node_id) ?? []), entry]);
    }
  }
  return held;
}

// Of the devices that are here: what models may use, and what of it is free.
export function memoryOf(cluster: Cluster): { budget: number; free: number } {
  let budget = 0, reserved = 0;
  for (const node of cluster.nodes) {
    if (!present.includes(node.state)) continue;
    budget += node.memory_budget * node.health.share;
    reserved += node.memory_reserved;
  }
  return { budget, free: Math.max(0, budget - reserved) };
}

// Tokens per second of all models together.
export function speedOf(telemetry: Telemetry | undefined): number {
  return telemetry?.instances.reduce((sum, one) => sum + (one.tokens_per_second ?? 0), 0) ?? 0;
}
