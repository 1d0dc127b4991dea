// A node that only pretends, for the page's tests and development: the routes of the page with data
// that moves. `node fake/server.mjs [--port N] [--scenario NAME]`; the page of dist/ is at /, with
// the headers that the node sends.
import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { adminRoutes } from './admin.mjs';
import { chatRoutes } from './chat.mjs';
import { eventRoutes } from './events.mjs';
import { Fault, find, sendFault } from './http.mjs';
import { modelRoutes } from './models.mjs';
import { World } from './world.mjs';

// `usual`; `empty`: fresh, with the tiny model only; `many`: 64 devices, 10,000 conversations;
// `errors`: each route but the session fails; `slow`: each takes 1.5 s; `stranger`: not signed in.
export const scenarios = ['usual', 'empty', 'many', 'errors', 'slow', 'stranger'];

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
const kinds = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css',
  '.svg': 'image/svg+xml', '.json': 'application/json', '.woff2': 'font/woff2',
};
const pageHeaders = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; " +
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; " +
    "frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
};

function sendPage(path, response) {
  const name = normalize(path === '/' ? 'index.html' : path.slice(1));
  const file = join(dist, name);
  if (!file.startsWith(dist) || !existsSync(file))
    throw new Fault(404, 'unknown_route', `There is no ${path}. Build the page first: npx vite build.`);
  response.writeHead(200, { ...pageHeaders, 'Content-Type': kinds[extname(file)] ?? 'application/octet-stream' });
  createReadStream(file).pipe(response);
}

async function answer(world, routes, request, response) {
  const url = new URL(request.url, 'http://fake');
  const path = url.pathname;
  const found = find(routes, request.method, path);
  if (!found) {
    if (request.method === 'GET' && !path.startsWith('/v1/')) return sendPage(path, response);
    throw new Fault(404, 'unknown_route', `There is no ${request.method} ${path}.`);
  }
  if (path !== '/v1/session') {
    if (world.scenario === 'errors')
      throw new Fault(500, 'internal_error', 'The disk of this device is full: 0 bytes free. Delete a model, then try again.');
    if (world.scenario === 'slow') await new Promise((resolve) => setTimeout(resolve, 1500));
    const internal = path.startsWith('/v1/internal/') && path !== '/v1/internal/events';
    if (!world.signedIn && (world.scenario === 'stranger' || internal))
      throw new Fault(401, 'missing_api_key', 'Nobody is signed in. Open the link that `exo dashboard` prints.');
  }
  await found.handler({ request, response, params: found.params, query: url.searchParams });
}

// Gives its address, its state, and the functions that cut its connections and end it.
export function startFake({ port = 0, scenario = 'usual' } = {}) {
  const world = new World(scenario);
  const routes = [eventRoutes, adminRoutes, modelRoutes, chatRoutes].flatMap((make) => make(world));
  const server = createServer((request, response) => {
    answer(world, routes, request, response).catch((fault) => {
      if (response.headersSent) response.destroy();
      else sendFault(response, fault);
    });
  });
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(port, '127.0.0.1', () => {
      world.start();
      resolve({
        url: `http://127.0.0.1:${server.address().port}`,
        world,
        // Ends all connections; new ones are taken.
        cut: () => server.closeAllConnections(),
        close() {
          world.stop();
          server.close();
          server.closeAllConnections();
        },
      });
    });
  });
}

function option(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const scenario = option('scenario', process.env.FAKE_SCENARIO ?? 'usual');
  if (!scenarios.includes(scenario)) {
    console.error(`There is no scenario "${scenario}". Take one of: ${scenarios.join(', ')}.`);
    process.exit(2);
  }
  const fake = await startFake({ port: Number(option('port', 52499)), scenario });
  console.log(fake.url);
}
