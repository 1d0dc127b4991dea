// The state of the fake home, and how it moves.
import { EventEmitter } from 'node:events';
import { createHash } from 'node:crypto';

export const GB = 1e9;

export function hex(text, digits = 64) {
  return createHash('sha256').update(text).digest('hex').slice(0, digits);
}

const names = ['kitchen', 'desk', 'laptop'];

function processor(kind, name, cores, memory, gbps, gops, reserved) {
  return {
    kind, name, isa: kind === 'gpu' ? 'sm_89' : 'avx2', cores, memory_total: memory,
    memory_budget: Math.round(memory * 0.8), memory_reserved: reserved, decode_gbps: gbps,
    prefill_gops: gops, load: 0.1,
  };
}

function health(extra) {
  return { share: 1, other_load: 0.08, reasons: [], text: 'plugged in; cool; other programs take 8 %', power: 'mains', heat: 'cool', ...extra };
}

function node(name, devices, extra = {}) {
  const sum = (field) => devices.reduce((total, one) => total + one[field], 0);
  return {
    id: hex(name), name, state: 'alive', detail: '', rtt_ms: 0.6, addresses: [`192.168.1.${10 + name.length}:52414`],
    isa: devices[0].isa, cores: sum('cores'), memory_total: sum('memory_total'),
    memory_budget: sum('memory_budget'), memory_reserved: sum('memory_reserved'),
    decode_gbps: sum('decode_gbps'), prefill_gops: sum('prefill_gops'), devices,
    health: health(), api_port: 52415, models: [], ...extra,
  };
}

export function modelEntry(id, bytes, layers, context, extra = {}) {
  return {
    id, object: 'model', created: 1_790_000_000, owned_by: 'exo', type: 'model', display_name: id,
    max_model_len: context, context_length: context, context_window: context, max_context_length: context,
    meta: { n_ctx: context, n_ctx_train: context, size: bytes },
    exo: {
      model_id: hex(id), architecture: id.split(/[-\d]/)[0], layers, bytes, local: true, held: true,
      names: [id], state: '', adapters: [], base: null, draft: null, ...extra,
    },
  };
}

const library = [
  modelEntry('qwen3-8b-q4_k_m', 5.03 * GB, 36, 40960, { state: 'ready' }),
  modelEntry('llama-3.2-3b-instruct-q8_0', 3.42 * GB, 28, 131072),
  modelEntry('gemma-3-27b-it-q4_0', 16.4 * GB, 62, 131072, { local: false }),
  modelEntry('llama-3.3-70b-instruct-q4_k_m', 42.5 * GB, 80, 131072),
  modelEntry('exo-tiny', 0.009 * GB, 6, 2048),
];

function usualNodes() {
  const nodes = [
    node('kitchen', [processor('cpu', 'Intel N100', 4, 16 * GB, 24, 190, 2.6 * GB)], { state: 'self', rtt_ms: 0 }),
    node('desk', [
      processor('cpu', 'AMD Ryzen 7 7700', 8, 16 * GB, 58, 1100, 0),
      processor('gpu', 'NVIDIA GeForce RTX 4060', 24, 8 * GB, 262, 15000, 3.1 * GB),
    ]),
    node('laptop', [processor('cpu', 'Apple M2', 8, 16 * GB, 92, 900, 0)], {
      rtt_ms: 4.2,
      health: health({
        share: 0.5, power: 'battery', charge: 0.62, reasons: ['battery'], owner: 'present',
        text: 'on battery, 62 %; in use; other programs take 31 %; offers 50 % of its speed (battery)', other_load: 0.31,
      }),
    }),
  ];
  const holds = { kitchen: [0, 1, 3, 4], desk: [0, 2, 3], laptop: [1] };
  for (const one of nodes) {
    one.models = holds[one.name].map((at) => {
      const model = library[at];
      return { id: model.exo.model_id, name: model.id, bytes: model.exo.bytes, complete: true };
    });
  }
  return nodes;
}

function manyNodes() {
  return Array.from({ length: 64 }, (_, i) => {
    const cpu = processor('cpu', 'Intel N100', 4, 16 * GB, 24, 190, (i % 9) * GB);
    const extra = i === 0 ? { state: 'self', rtt_ms: 0 } : { rtt_ms: 0.4 + (i % 7), state: i % 17 === 5 ? 'suspect' : 'alive' };
    return node(`node-${String(i + 1).padStart(2, '0')}`, [cpu], extra);
  });
}

export function stagesOver(nodes, model) {
  const total = nodes.reduce((sum, one) => sum + one.memory_budget, 0);
  let begin = 0, share = 0;
  return nodes.map((one, i) => {
    share += one.memory_budget / total;
    const end = i + 1 === nodes.length ? model.exo.layers : Math.max(begin + 1, Math.round(model.exo.layers * share));
    const stage = {
      node: one.name, node_id: one.id, layer_begin: begin, layer_end: end,
      bytes: Math.round((model.exo.bytes * (end - begin)) / model.exo.layers),
    };
    begin = end;
    return stage;
  });
}

export function instanceOf(model, nodes, extra = {}) {
  return {
    plan_id: hex(`plan of ${model.id}`, 32), model: model.id, model_id: model.exo.model_id, owner: nodes[0].id,
    owner_name: nodes[0].name, layers: model.exo.layers, context: Math.min(8192, model.context_length), kv: 'f16',
    wire: 'f32', draft: null, kv_positions: 16384, stages: stagesOver(nodes, model), state: 'ready',
    detail: '', active_requests: 1, queued_requests: 0,
    reason: `layers over the nodes are predicted fastest: ${nodes.map((one) => one.name).join(' + ')} (layers: ${nodes.map((one) => `${one.name} 14`).join(', ')}): 21.4 tokens/s`,
    predicted_tokens_per_second: 21.4, pinned: false, keep_alive: 300, ...extra,
  };
}

export class World extends EventEmitter {
  constructor(scenario) {
    super();
    this.setMaxListeners(0);
    this.scenario = scenario;
    this.signedIn = scenario !== 'stranger';
    this.sequence = 1000;
    this.requests = [];
    this.pulls = [];
    this.models = scenario === 'empty' ? [library[4]] : structuredClone(library);
    this.fill(scenario);
  }

  fill(scenario) {
    this.nodes = scenario === 'many' ? manyNodes() : scenario === 'empty' ? usualNodes().slice(0, 1) : usualNodes();
    this.instances = [];
    this.trust = this.nodes.map((one) => ({ id: one.id, name: one.name, state: 'member' }));
    if (scenario === 'empty') {
      for (const one of this.nodes) Object.assign(one, { models: [], memory_reserved: 0 });
      return;
    }
    this.trust.push({ id: hex('tablet'), name: 'tablet', state: 'guest' }, { id: hex('garage'), name: 'garage', state: 'pending' },
      { id: hex('old-pc'), name: 'old-pc', state: 'forgotten' });
    const lead = scenario === 'many' ? this.nodes.slice(0, 6) : this.nodes.slice(0, 2);
    this.instances.push(instanceOf(this.models[0], lead));
    this.requests.push(this.endedRequest(1, 'done'), this.endedRequest(2, 'failed'), this.endedRequest(3, 'canceled'));
    this.answer();
    this.pulls.push({
      model: 'mistral-small-3.2-24b-q4_k_m', step: 'file', file: 'Mistral-Small-3.2-24B-Q4_K_M.gguf',
      completed: 3.1 * GB, total: 14.3 * GB, bytes_per_second: 38e6, seconds_left: 294,
    });
  }

  get self() {
    return this.nodes[0];
  }

  endedRequest(i, state) {
    const started = Date.now() - i * 90_000;
    return {
      id: hex(`request ${i}`, 32), model: this.models[0].id, state, who: i === 2 ? 'open-webui' : '', entry: 'kitchen',
      dialect: i === 2 ? 'anthropic' : 'openai', started, ended: started + 8200, prompt_tokens: 412, cached_tokens: 256,
      generated: state === 'done' ? 173 : 12, tokens_per_second: 21.1, ttft_ms: 640, devices: ['kitchen', 'desk'],
      ...(state === 'failed' ? { error: 'lost desk (layers 14-27 of llama-3.2-3b-instruct-q8_0): connection reset; the devices that are left do not hold the model' } : {}),
    };
  }

  // A new answer begins.
  answer() {
    this.requests.unshift({
      id: hex(`request ${Math.random()}`, 32), model: this.models[0].id, state: 'prompt', who: '', entry: 'kitchen',
      dialect: 'openai', started: Date.now(), prompt_tokens: 1204, cached_tokens: 896, generated: 0,
      tokens_per_second: 0, devices: this.instances[0].stages.map((one) => one.node),
    });
    this.requests.length = Math.min(this.requests.length, 40);
  }

  cluster() {
    const links = this.nodes.slice(1).map((one) => ({ from: this.self.id, to: one.id, state: one.state, rtt_ms: one.rtt_ms }));
    return {
      self: this.self.id, nodes: this.nodes, links, instances: this.instances, neighbors_of_other_clusters: 0,
      sent: { rows: 91234, bytes: 91234 * 16384 }, sequence: this.sequence,
    };
  }

  telemetry() {
    const busy = this.requests.some((one) => one.state === 'answering');
    const wave = (i) => 0.5 + 0.5 * Math.sin(Date.now() / 4000 + i);
    return {
      time: Date.now(),
      devices: this.nodes.map((one, i) => ({
        id: one.id, memory_total: one.memory_total, memory_exo: one.memory_reserved,
        memory_used: Math.round(one.memory_reserved + one.memory_total * (0.2 + 0.05 * wave(i))),
        load: one.health.other_load * (0.6 + 0.4 * wave(i)), temperature_c: 5 * Math.round(9 + 2 * wave(i)),
        throttled: one.health.heat === 'hot', power: one.health.power, charge: one.health.charge, share: one.health.share,
      })),
      links: this.nodes.slice(1).map((one, i) => ({
        from: this.self.id, to: one.id, rtt_ms: one.rtt_ms * (0.9 + 0.2 * wave(i)), mbps: 940,
        bytes_per_second: busy && i < 1 ? 16384 * 21 : 0,
      })),
      instances: this.instances.map((one) => ({
        plan: one.plan_id, tokens_per_second: busy ? 20.5 + wave(3) : 0, requests: busy ? 1 : 0,
      })),
    };
  }

  changed(...what) {
    ++this.sequence;
    for (const one of what) this.emit('changed', one);
  }

  start() {
    this.timers = [
      setInterval(() => this.emit('changed', 'telemetry'), 1000),
      setInterval(() => this.moveRequests(), 250),
      setInterval(() => this.movePulls(), 500),
    ];
  }

  stop() {
    for (const one of this.timers ?? []) clearInterval(one);
  }

  moveRequests() {
    const running = this.requests.find((one) => ['prompt', 'answering'].includes(one.state) && !one.ours);
    if (!running) return;
    const age = Date.now() - running.started;
    if (running.state === 'prompt' && age > 800) Object.assign(running, { state: 'answering', ttft_ms: age });
    if (running.state === 'answering') {
      running.generated += 5;
      running.tokens_per_second = 20.5 + Math.random();
    }
    if (running.generated >= 240) {
      Object.assign(running, { state: 'done', ended: Date.now() });
      setTimeout(() => this.answer(), 2000).unref();
    }
    this.changed('requests');
  }

  movePulls() {
    if (this.pulls.length === 0) return;
    for (const one of this.pulls) {
      one.completed = Math.min(one.total, one.completed + one.bytes_per_second / 2);
      one.seconds_left = Math.round((one.total - one.completed) / one.bytes_per_second);
    }
    for (const done of this.pulls.filter((one) => one.completed >= one.total)) {
      this.models.push(modelEntry(done.model, done.total, 40, 32768));
      this.changed('models');
    }
    this.pulls = this.pulls.filter((one) => one.completed < one.total);
    this.changed('pulls');
  }
}
