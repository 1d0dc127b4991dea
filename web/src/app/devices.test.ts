import { expect, test } from 'vitest';
import type { Cluster, ClusterNode, Instance } from '../api/types';
import { factsOf, memoryOf, speedOf } from './devices';

const node = (id: string, extra: Partial<ClusterNode> = {}): ClusterNode => ({
  id, name: id, state: 'alive', detail: '', rtt_ms: 1, addresses: [], isa: '', cores: 4, memory_total: 16,
  memory_budget: 10, memory_reserved: 4, decode_gbps: 1, prefill_gops: 1, api_port: 1, models: [],
  devices: [], health: { share: 1, reasons: [], text: '' }, ...extra,
});
const cluster = (nodes: ClusterNode[], instances: Partial<Instance>[] = []): Cluster => ({
  self: 'a', nodes, links: [], instances: instances as Instance[], neighbors_of_other_clusters: 0,
  sent: { rows: 0, bytes: 0 }, sequence: 1,
});

test('telemetry is newer than the state of the cluster', () => {
  const nodes = [node('a', { state: 'self' }), node('b', { state: 'dead' })];
  const [a, b] = factsOf(cluster(nodes), {
    time: 1, links: [], instances: [],
    devices: [{ id: 'a', memory_exo: 5, memory_used: 9, throttled: true, power: 'battery', charge: 0.5 }],
  });
  expect(a).toMatchObject({ self: true, here: true, memoryExo: 5, memoryUsed: 9, hot: true, onBattery: true, charge: 0.5 });
  expect(b).toMatchObject({ self: false, here: false, memoryExo: 4, memoryUsed: undefined, hot: false });
});

test('a device knows the layers that it holds', () => {
  const stage = (id: string, layer_begin: number, layer_end: number) =>
    ({ node: id, node_id: id, layer_begin, layer_end, bytes: 1 });
  const [a, b] = factsOf(cluster([node('a'), node('b')], [{ model: 'm', layers: 8, stages: [stage('b', 3, 8)] }]), undefined);
  expect(a!.held).toEqual([]);
  expect(b!.held).toEqual([{ model: 'm', begin: 3, end: 8, of: 8, leads: true }]);
});

test('memory is that of devices that are here, as far as they give it', () => {
  const half = { share: 0.5, reasons: [], text: '' };
  expect(memoryOf(cluster([node('a'), node('b', { health: half }), node('c', { state: 'dead' })])))
    .toEqual({ budget: 15, free: 7 });
});

test('speeds of all models are added', () => {
  expect(speedOf(undefined)).toBe(0);
  expect(speedOf({ time: 1, devices: [], links: [], instances: [{ plan: 'a', tokens_per_second: 2 }, { plan: 'b' }] })).toBe(2);
});
