// A real node in a folder of its own, for tests and measurements. $EXO names the program; without it, what was built
// last of build/test, build/release and build/dev.
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = new URL('../../', import.meta.url).pathname;

function program() {
  if (process.env.EXO) return process.env.EXO;
  const built = ['test', 'release', 'dev'].map((kind) => `${root}build/${kind}/exo`).filter(existsSync);
  if (built.length === 0) throw new Error('there is no program to test the page with: build exo first, or name it by EXO=PATH');
  return built.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];
}

// A minute is much: for machines that do much else.
export async function until(what, condition, ms = 60_000) {
  for (const end = Date.now() + ms; ; await new Promise((resolve) => setTimeout(resolve, 25))) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${ms / 1000} s for ${what}`);
  }
}

// Starts `exo up` with more `flags`, that meets nodes of this machine only. It has the model exo-tiny.
export async function startNode(name, ...flags) {
  const home = mkdtempSync(join(tmpdir(), `exo-${name}-`));
  const { EXO_SHARED: _, ...own } = process.env; // where tests find data is no setting of exo
  const env = { ...own, EXO_HOME: home, NO_COLOR: '1', DISPLAY: ':1', EXO_MODELS: `${root}models` };
  const up = ['up', '--name', name, '--port', '0', '--api-port', '0', '--ollama-port', '0', '--loopback', ...flags];
  const child = spawn(program(), up, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.on('data', (text) => (log += text));
  const ended = new Promise((resolve) => child.once('exit', resolve));

  // Runs a command of this node's machine; gives what it prints.
  const command = async (...words) => (await run(program(), words, { env, timeout: 120_000 })).stdout.trim();
  async function stop() {
    child.kill('SIGTERM');
    const stuck = setTimeout(() => child.kill('SIGKILL'), 60_000);
    await ended;
    clearTimeout(stuck);
    rmSync(home, { recursive: true, force: true });
  }

  try {
    const state = await until(`node ${name} to start`, () => {
      if (child.exitCode !== null) throw new Error(`node ${name} ended: ${log.slice(-2000)}`);
      try {
        return JSON.parse(readFileSync(join(home, 'node.json'), 'utf8'));
      } catch {
        return undefined;
      }
    });
    const url = `http://127.0.0.1:${state.api_port}`;
    await until(`${name} to know its model`, async () => (await (await fetch(`${url}/v1/models`)).json()).data.length > 0);
    return { url, home, port: state.port, command, stop, link: () => command('dashboard', '--print') };
  } catch (fault) {
    await stop();
    throw fault;
  }
}
