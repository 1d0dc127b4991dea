import { expect, test } from 'vitest';
import claude from './claude.txt?raw';
import { noKey, programs } from './programs';

const local = { base: 'http://127.0.0.1:52415', model: 'qwen3-8b', key: noKey };
const remote = { base: 'https://192.168.1.17:52417', model: 'qwen3-8b', key: 'YOUR_KEY' };

test('every program is told the address, and the model unless it lists them itself', () => {
  for (const program of programs) {
    expect(program.text(local), program.name).toContain(local.base);
    if (program.name !== 'Open WebUI') expect(program.text(local), program.name).toContain(local.model);
  }
});

test('Claude Code gets what exo launch claude --print says', () => {
  const program = programs.find((one) => one.launch === 'claude')!;
  const target = { base: 'http://localhost:52415', model: 'qwen3:8b', context: 65536, key: noKey };
  expect(program.text(target) + '\n').toBe(claude);
});

test('JSON files are JSON', () => {
  for (const name of ['opencode', 'Zed']) {
    const program = programs.find((one) => one.name === name)!;
    expect(() => JSON.parse(program.text(local))).not.toThrow();
  }
});

test('a key is told where one is needed, and not where none is', () => {
  const curl = programs.find((one) => one.name === 'curl')!;
  expect(curl.text(local)).not.toContain('Authorization');
  expect(curl.text(remote)).toContain('Bearer YOUR_KEY');
  const codex = programs.find((one) => one.name === 'Codex')!;
  expect(codex.text(local)).not.toContain('env_key');
  expect(codex.text(remote)).toContain('env_key');
});
