// Models: the list, plans, loading and pulling.
import { GB, hex, instanceOf, modelEntry, stagesOver } from './world.mjs';
import { Fault, readJson, route, sendJson, startEvents } from './http.mjs';

export function modelRoutes(world) {
  function modelNamed(name) {
    const found = world.models.find((one) => one.id === name);
    if (!found) throw new Fault(404, 'model_not_found', `No model is named "${name}". GET /v1/models lists them.`);
    return found;
  }

  // The fewest devices that hold the model, the largest ones first.
  function placement(model, context, without) {
    const kv = context * model.exo.layers * 2048;
    const need = model.exo.bytes + kv;
    const here = world.nodes.filter((one) => !without.includes(one.id)).sort((a, b) => b.memory_budget - a.memory_budget);
    const freeOf = (one) => one.memory_budget * one.health.share - one.memory_reserved;
    const free = here.reduce((sum, one) => sum + freeOf(one), 0);
    if (need > free) {
      throw new Fault(503, 'no_plan',
        `${model.id} needs ${(need / GB).toFixed(1)} GB with a context of ${context}, and these devices have ` +
        `${(free / GB).toFixed(1)} GB free. Take a smaller quantization or context, or let another device join.`);
    }
    let room = 0;
    const used = here.filter((one) => room < need && ((room += freeOf(one)), true));
    return { used, need, kv };
  }

  async function plan({ request, response }) {
    const { model: name, context, users = 1, without = [] } = await readJson(request);
    const model = modelNamed(name);
    const length = context ?? Math.min(8192, model.context_length);
    const { used } = placement(model, length, without);
    const speed = used.reduce((sum, one) => sum + one.decode_gbps, 0) / used.length / (model.exo.bytes / GB);
    const stages = stagesOver(used, model).map((stage) => ({ ...stage, ms_per_token: 1000 / speed / used.length }));
    const { owner_name: _, state: __, detail: ___, ...common } = instanceOf(model, used, { stages, context: length });
    const others = world.nodes.filter((one) => !used.includes(one)).map((one) => one.name);
    sendJson(response, {
      ...common, plan_id: hex(`${name} ${length} ${without}`, 32),
      reason: used.length > 1
        ? `no node holds the model alone; ${used.map((one) => one.name).join(' + ')} together are predicted fastest (layers: ${stages.map((one) => `${one.node} ${one.layer_end - one.layer_begin}`).join(', ')}): ${speed.toFixed(1)} tokens/s`
        : `${used[0].name} holds the whole model and is predicted fastest: ${speed.toFixed(1)} tokens/s`,
      predicted_tokens_per_second: speed, predicted_prompt_per_second: speed * 14, predicted_ttft_ms: 512_000 / (speed * 14),
      users, predicted_total_per_second: speed * Math.sqrt(users),
      devices: world.nodes.filter((one) => !without.includes(one.id)).map((one) => ({
        id: one.id, name: one.name, memory_available: one.memory_budget - one.memory_reserved, memory_budget: one.memory_budget,
        decode_gbps: one.decode_gbps, prefill_gops: one.prefill_gops, guest: false,
      })),
      hops: used.slice(1).map((one, i) => ({ from: used[i].id, to: one.id, rtt_ms: one.rtt_ms, mbps: i ? null : 940 })),
      replicas: [],
      explanation: [
        `${used.map((one) => one.name).join(' + ')}${used.length > 1 ? ', layers' : ' alone'}: ${speed.toFixed(1)} tokens/s; chosen`,
        ...others.map((one) => `${one} alone: ${(speed * 0.61).toFixed(1)} tokens/s; 61 % of the chosen one's speed`),
      ],
    });
  }

  async function load({ request, response }) {
    const { model: name } = await readJson(request);
    const model = modelNamed(name);
    const { used } = placement(model, Math.min(8192, model.context_length), []);
    const instance = instanceOf(model, used, { state: 'loading', detail: `${used[0].name} at 0 %`, active_requests: 0 });
    world.instances.push(instance);
    model.exo.state = 'loading';
    world.changed('cluster', 'models');
    await new Promise((resolve) => setTimeout(resolve, 1200));
    Object.assign(instance, { state: 'ready', detail: '' });
    model.exo.state = 'ready';
    world.changed('cluster', 'models');
    sendJson(response, instance);
  }

  async function unload({ request, response }) {
    const model = modelNamed((await readJson(request)).model);
    world.instances = world.instances.filter((one) => one.model !== model.id);
    model.exo.state = '';
    world.changed('cluster', 'models');
    sendJson(response, { ok: true });
  }

  async function pull({ request, response }) {
    const { model } = await readJson(request);
    if (/nowhere/.test(model)) throw new Fault(404, 'model_not_found', `There is no model "${model}" at Hugging Face or Ollama. Check its name.`);
    const entry = { model, step: 'file', file: `${model.split('/').pop()}.gguf`, completed: 0, total: 4 * GB, bytes_per_second: 90e6, seconds_left: 44 };
    world.pulls.push(entry);
    world.changed('pulls');
    const timer = setInterval(() => {
      if (world.pulls.includes(entry)) return send('', entry);
      clearInterval(timer);
      send('', { step: 'done', model });
      send('', '[DONE]');
      response.end();
    }, 250);
    const send = startEvents(response, {
      end() {
        clearInterval(timer);
        world.pulls = world.pulls.filter((one) => one !== entry);
        world.changed('pulls');
      },
    });
  }

  function remove({ params, response }) {
    const model = modelNamed(params.id);
    world.models = world.models.filter((one) => one !== model);
    for (const one of world.nodes) one.models = one.models.filter((held) => held.id !== model.exo.model_id);
    world.changed('models', 'cluster');
    sendJson(response, { ok: true, devices: [{ device: world.self.name, ok: true, freed_bytes: model.exo.bytes, said: '' }] });
  }

  async function add({ request, response }) {
    const { path } = await readJson(request);
    if (!String(path).endsWith('.gguf'))
      throw new Fault(400, 'invalid_value', `"${path}" is no GGUF file and no folder of safetensors. Name one that this device can read.`);
    const name = path.split('/').pop().replace(/\.gguf$/, '').toLowerCase();
    world.models.push(modelEntry(name, 2 * GB, 24, 8192));
    world.changed('models');
    sendJson(response, { name });
  }

  return [
    route('GET', '/v1/models', ({ response }) => sendJson(response, { object: 'list', data: world.models })),
    route('POST', '/v1/internal/plan', plan),
    route('POST', '/v1/internal/load', load),
    route('POST', '/v1/internal/unload', unload),
    route('POST', '/v1/internal/pull', pull),
    route('POST', '/v1/internal/models', add),
    route('DELETE', '/v1/internal/models/{id*}', remove),
  ];
}
