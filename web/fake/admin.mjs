// Trust, settings, keys, logs and the doctor.
import { Fault, readJson, route, sendJson, startEvents } from './http.mjs';
import { hex } from './world.mjs';

function firstSettings() {
  const setting = (name, value, kind, help, extra = {}) =>
    ({ name, value, default: value, origin: 'default', kind, help, restart: true, ...extra });
  const inFile = (line, fallback) => ({ origin: 'file', source: `exo.toml line ${line}`, default: fallback });
  return [
    setting('name', 'kitchen', 'a string of UTF-8', 'name of this device', inFile(1, 'localhost')),
    setting('memory_limit', '12 GiB', 'a size such as 8GiB or 450M; 0 or off: none', 'memory for models, for example 8GiB', inFile(2, 'what is free')),
    setting('min_charge', 30, 'an integer from 0 to 100', 'least charge, in percent, at which a device on its battery takes part in models', { restart: false }),
    setting('hours', [], 'a list of strings', 'times of day, as 22:00-07:00, at which this device takes part in models'),
    setting('listen', [], 'a list of strings', 'ADDRESS:PORT to serve the API on by TLS, to those who have a key (exo key add)'),
    setting('keep_awake', true, 'true or false', 'this device does not fall asleep while it answers'),
    setting('port', 52416, 'an integer from 0 to 65535', 'port for other devices; 0: any free one', { origin: 'flag', source: '--port' }),
    setting('cluster_secret', null, 'a string of UTF-8', 'secret shared by the devices of a cluster', { secret: true }),
  ];
}

const checks = [
  { id: 'folder', state: 'ok', title: 'the data folder is in order', detail: '/home/ada/.exo', fix: '' },
  { id: 'discovery', state: 'ok', title: 'other devices are looked for', detail: 'announcements go out on 2 addresses; 2 members heard in the last minute; mDNS is on', fix: '' },
  { id: 'members', state: 'warning', title: 'nas is not here', detail: 'it does not answer; tried 192.168.1.13:52416 (nothing answers)', fix: 'start exo on it, or see whether it is on this network; exo forget nas if it will not come back' },
  { id: 'disk', state: 'problem', title: 'the disk is full', detail: '0.1 GiB of 120.0 GiB are free where /home/ada/.exo lies', fix: 'make room: exo rm MODEL deletes one that was pulled; `download_space` in exo.toml limits how much exo takes' },
  { id: 'storage', state: 'unknown', title: 'the disk does not say how full it is', detail: '/home/ada/.exo', fix: '' },
];

export function adminRoutes(world) {
  let settings = firstSettings();
  let keys = world.scenario === 'empty' ? [] : [
    { name: 'open-webui', scopes: ['infer'], created: Date.now() - 9e8, last_used: Date.now() - 6e5 },
    { name: 'backup', scopes: ['infer', 'models'], rate: 60, quota: 1_000_000, created: Date.now() - 4e9 },
  ];
  const audit = world.scenario === 'empty' ? [] : [
    { time: Date.now() - 8e6, what: 'joined', device: 'laptop', detail: 'by code' },
    { time: Date.now() - 5e7, what: 'forgotten', device: 'old-pc', detail: '' },
    { time: Date.now() - 9e7, what: 'trusted', device: 'nas', detail: 'as a guest' },
  ];

  function deviceNamed(text) {
    const found = world.trust.find((one) => one.id === text || one.name === text);
    if (!found) throw new Fault(404, 'device_not_found', `No device "${text}" is known here. exo devices lists them.`);
    return found;
  }

  async function trustChange({ request, response }, state) {
    const { device, guest } = await readJson(request);
    const found = deviceNamed(device);
    found.state = state === 'member' && guest ? 'guest' : state;
    audit.unshift({ time: Date.now(), what: state === 'member' ? 'approved' : 'forgotten', device: found.name, detail: guest ? 'as a guest' : '' });
    world.changed('cluster');
    sendJson(response, { ok: true });
  }

  const invite = ({ response }) => sendJson(response, {
    code: '493021', code_seconds: 120, link_seconds: 600,
    links: [`exo://192.168.1.17:52416/${hex('invitation', 26)}`],
  });

  async function change({ request, response }) {
    const answer = { now: [], restart: [], hidden: [] };
    for (const [name, value] of Object.entries(await readJson(request))) {
      const found = settings.find((one) => one.name === name);
      if (!found) throw new Fault(400, 'invalid_value', `There is no setting "${name}".`);
      if (found.name === 'min_charge' && value !== null && !(value >= 0 && value <= 100))
        throw new Fault(400, 'invalid_value', `min_charge takes an integer from 0 to 100, not ${value}.`);
      Object.assign(found, { value: value ?? found.default, origin: value === null ? 'default' : 'file' });
      (found.restart ? answer.restart : answer.now).push(name);
    }
    sendJson(response, answer);
  }

  async function addKey({ request, response }) {
    const { name, scopes, ...limits } = await readJson(request);
    if (keys.some((one) => one.name === name)) throw new Fault(400, 'invalid_value', `There is a key "${name}" already. Take another name.`);
    keys.push({ name, scopes, ...limits, created: Date.now() });
    sendJson(response, { key: `exo-${hex(name + Date.now(), 48)}` });
  }

  function removeKey({ params, response }) {
    keys = keys.filter((one) => one.name !== params.name);
    sendJson(response, { ok: true });
  }

  function logs({ response }) {
    let id = 0;
    const line = (level, text) => send('', { time: Date.now(), level, text }, ++id);
    const timer = setInterval(() => line('info', `answered a chat of qwen3-8b-q4_k_m in ${(2 + Math.random()).toFixed(1)} s`), 2000);
    const send = startEvents(response, { end: () => clearInterval(timer) });
    line('info', 'exo 1.0.0 serves http://127.0.0.1:52415');
    line('info', 'desk joined: 24 GB of memory, NVIDIA GeForce RTX 4060');
    line('warning', 'laptop runs on battery (62 %): it gives half of its memory');
    line('error', 'the pull of mistral-small-3.2-24b-q4_k_m was cut after 3.1 GB, it goes on in 2 s');
  }

  return [
    route('GET', '/v1/internal/trust', ({ response }) => sendJson(response, { devices: world.trust })),
    route('POST', '/v1/internal/invite', invite),
    route('POST', '/v1/internal/approve', (exchange) => trustChange(exchange, 'member')),
    route('POST', '/v1/internal/forget', (exchange) => trustChange(exchange, 'forgotten')),
    route('GET', '/v1/internal/audit', ({ response }) => sendJson(response, { data: audit, intact: true })),
    route('GET', '/v1/internal/settings', ({ response }) => sendJson(response, { file: '/home/me/.config/exo/exo.toml', data: settings })),
    route('PATCH', '/v1/internal/settings', change),
    route('GET', '/v1/internal/keys', ({ response }) => sendJson(response, { data: keys })),
    route('POST', '/v1/internal/keys', addKey),
    route('DELETE', '/v1/internal/keys/{name}', removeKey),
    route('GET', '/v1/internal/logs', logs),
    route('GET', '/v1/internal/doctor', ({ response }) => sendJson(response, { checks: world.scenario === 'empty' ? checks.slice(0, 1) : checks })),
  ];
}
