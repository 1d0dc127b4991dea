// What the fake's routes have in common: matching of paths, JSON in and out, event streams.

export class Fault extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// `route('GET', '/v1/a/{id}', handler)`: `{id}` is one part of the path, `{id*}` the rest of it.
export function route(method, pattern, handler) {
  const source = pattern.replace(/\{(\w+)(\*?)\}/g, (_, name, rest) => `(?<${name}>${rest ? '.+' : '[^/]+'})`);
  return { method, expression: new RegExp(`^${source}$`), handler };
}

export function find(routes, method, path) {
  for (const one of routes) {
    const match = one.expression.exec(path);
    if (!match || one.method !== method) continue;
    const params = Object.fromEntries(
      Object.entries(match.groups ?? {}).map(([name, value]) => [name, decodeURIComponent(value)]),
    );
    return { handler: one.handler, params };
  }
  return undefined;
}

export async function readJson(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  if (parts.length === 0) return {};
  try {
    return JSON.parse(Buffer.concat(parts).toString());
  } catch {
    throw new Fault(400, 'invalid_json', 'The body is not JSON. Send a JSON object.');
  }
}

export function sendJson(response, value, status = 200, headers = {}) {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers });
  response.end(JSON.stringify(value));
}

export function sendFault(response, fault) {
  const status = fault instanceof Fault ? fault.status : 500;
  const code = fault instanceof Fault ? fault.code : 'internal_error';
  sendJson(response, { error: { message: fault.message, code, param: null } }, status);
}

// Starts an event stream; gives the function that sends one event, and `end` to be called once when
// the reader is gone.
export function startEvents(response, { every, end } = {}) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  const timer = setInterval(() => response.write(':\n\n'), every ?? 10_000);
  response.on('close', () => {
    clearInterval(timer);
    end?.();
  });
  return (event, data, id) => {
    const head = (id === undefined ? '' : `id: ${id}\n`) + (event ? `event: ${event}\n` : '');
    response.write(`${head}data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`);
  };
}
