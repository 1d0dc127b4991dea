// The stream of events, the lists behind it, and the session.
import { Fault, readJson, route, sendJson, startEvents } from './http.mjs';

export function eventRoutes(world) {
  const states = {
    cluster: () => world.cluster(),
    telemetry: () => world.telemetry(),
    requests: () => ({ data: world.requests }),
    pulls: () => world.pulls,
    models: () => ({ object: 'list', data: world.models }),
  };

  function events({ response }) {
    const send = startEvents(response, { end: () => world.off('changed', tell) });
    const tell = (what, data) => send(what, data ?? states[what]());
    send('resync', { sequence: world.sequence }, world.sequence);
    for (const name of Object.keys(states)) tell(name);
    world.on('changed', tell);
  }

  function session({ response }) {
    const open = world.signedIn || world.scenario !== 'stranger';
    sendJson(response, {
      signed_in: world.signedIn,
      scopes: world.signedIn ? ['infer', 'models', 'admin'] : open ? ['infer', 'models'] : [],
      device: { id: world.self.id, name: world.self.name, version: '1.0.0' },
      local: world.scenario !== 'stranger',
    });
  }

  async function signIn(exchange) {
    const { token, key } = await readJson(exchange.request);
    if (token === 'used')
      throw new Fault(401, 'invalid_token', 'This link was used already, or is older than 10 minutes. Ask for a new one: exo dashboard');
    if (key !== undefined && !String(key).startsWith('exo-'))
      throw new Fault(401, 'invalid_api_key', 'This is no key of this cluster. Keys begin with "exo-": exo key add NAME');
    world.signedIn = true;
    session(exchange);
  }

  function cancel({ params, response }) {
    const found = world.requests.find((one) => one.id === params.id);
    if (!found) throw new Fault(404, 'request_not_found', `There is no request ${params.id}.`);
    Object.assign(found, { state: 'canceled', ended: Date.now() });
    setTimeout(() => world.answer(), 2000).unref();
    world.changed('requests');
    sendJson(response, { ok: true });
  }

  return [
    route('GET', '/v1/internal/events', events),
    route('GET', '/v1/session', session),
    route('POST', '/v1/session', signIn),
    route('DELETE', '/v1/session', (exchange) => ((world.signedIn = false), session(exchange))),
    route('GET', '/v1/cluster', ({ response }) => sendJson(response, world.cluster())),
    route('GET', '/v1/internal/requests', ({ response }) => sendJson(response, { data: world.requests })),
    route('DELETE', '/v1/internal/requests/{id}', cancel),
  ];
}
