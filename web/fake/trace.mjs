// Traces of requests: a prompt in two chunks, then tokens over two devices, some of them slow.
import { Fault, route, sendJson } from './http.mjs';

// The same each time for a request.
function* noise(seed) {
  let state = [...seed].reduce((sum, sign) => (sum * 31 + sign.charCodeAt(0)) >>> 0, 7);
  for (;;) {
    state = (state * 1664525 + 1013904223) >>> 0;
    yield state / 2 ** 32;
  }
}

function traceOf(request, tokens) {
  const random = noise(request.id);
  const next = () => random.next().value;
  const spans = [];
  let at = 0;
  const add = (name, duration, more = {}) => {
    spans.push({ name, start_us: Math.round(at), duration_us: Math.round(duration), ...more });
    at += duration;
  };
  const [first, second] = [request.devices[0], request.devices[1] ?? request.devices[0]];
  add('queue', 3200, { device: first });
  add('template', 640, { device: first });
  add('tokenize', 910, { device: first });
  for (const rows of [256, 156]) {
    const begin = at;
    add('stage', 96_000 * (rows / 256), { device: first, stage: 0, rows });
    add('wire', 7400, { device: first, to: second, stage: 0, rows });
    add('stage', 61_000 * (rows / 256), { device: second, stage: 1, rows });
    spans.push({ name: 'prompt', device: first, start_us: Math.round(begin), duration_us: Math.round(at - begin), rows });
  }
  for (let token = 0; token < tokens; ++token) {
    const begin = at;
    const slow = next() < 0.03 ? 3 + 3 * next() : 1;
    add('stage', 21_000 + 2500 * next(), { device: first, stage: 0, rows: 1 });
    add('wire', (900 + 500 * next()) * (slow > 1 ? 20 : 1), { device: first, to: second, stage: 0, rows: 1 });
    add('stage', (17_000 + 1800 * next()) * slow, { device: second, stage: 1, rows: 1 });
    add('wire', 700 + 300 * next(), { device: second, to: first, stage: 1, rows: 1 });
    add('sample', 260 + 90 * next(), { device: first });
    spans.push({ name: 'token', device: first, start_us: Math.round(begin), duration_us: Math.round(at - begin), token });
  }
  return { id: request.id, model: request.model, spans, dropped: 0 };
}

export function traceRoutes(world) {
  function trace({ params, query, response }) {
    const request = world.requests.find((one) => one.id === params.id);
    if (!request) throw new Fault(404, 'request_not_found', `There is no trace of the request ${params.id}: the last 32 are kept.`);
    const found = traceOf(request, Math.max(1, request.generated ?? 1));
    const format = query.get('format');
    if (format === 'chrome') {
      const traceEvents = found.spans.map((one) => ({ name: one.name, ph: 'X', ts: one.start_us, dur: one.duration_us, pid: one.device, tid: one.stage ?? 0 }));
      return sendJson(response, { traceEvents });
    }
    if (format === 'otlp') return sendJson(response, { resourceSpans: [{ scopeSpans: [{ spans: found.spans }] }] });
    sendJson(response, found);
  }
  return [route('GET', '/v1/internal/requests/{id}/trace', trace)];
}
