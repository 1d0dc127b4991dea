// What each program needs to work with this cluster. docs/clients.md says which were tried.

export interface Target {
  // http://127.0.0.1:52415, without a slash at the end.
  base: string;
  model: string;
  // Tokens; absent: not known.
  context?: number;
  // noKey where none is needed: the programs insist on some text.
  key: string;
}
export const noKey = 'exo';
export interface Program {
  name: string;
  kind: 'agents' | 'apps' | 'code';
  // Where the text goes: a file of this path, a shell, or settings that are typed in, where `step`
  // says which ones.
  place: { file: string } | 'shell' | { step: 'openWebui' | 'zed' | 'cline' };
  text: (target: Target) => string;
  // `exo launch NAME` sets it up, too.
  launch?: string;
}

const pretty = (value: unknown): string => JSON.stringify(value, null, 2);

export const programs: Program[] = [
  {
    name: 'Claude Code', kind: 'agents', place: 'shell', launch: 'claude',
    // What `exo launch claude --print` says (src/app/launch_command.cc); claude.txt holds both to it.
    text: ({ base, model, context, key }) =>
      [
        `ANTHROPIC_BASE_URL=${base}`, `ANTHROPIC_AUTH_TOKEN=${key}`, `ANTHROPIC_MODEL=${model}`,
        ...['OPUS', 'SONNET', 'HAIKU'].map((size) => `ANTHROPIC_DEFAULT_${size}_MODEL=${model}`),
        `CLAUDE_CODE_SUBAGENT_MODEL=${model}`, 'CLAUDE_CODE_ATTRIBUTION_HEADER=0',
        ...(context ? [`CLAUDE_CODE_AUTO_COMPACT_WINDOW=${context - Math.floor(context / 10)}`] : []), 'claude',
      ].join(' \\\n  '),
  },
  {
    name: 'Codex', kind: 'agents', place: { file: '~/.codex/config.toml' }, launch: 'codex',
    text: ({ base, model, key }) =>
      [
        `model = "${model}"`, 'model_provider = "exo"', '[model_providers.exo]', 'name = "exo"', `base_url = "${base}/v1"`,
        'wire_api = "responses"', ...(key === noKey ? [] : ['env_key = "EXO_API_KEY"']),
      ].join('\n'),
  },
  {
    name: 'opencode', kind: 'agents', place: { file: 'opencode.json' }, launch: 'opencode',
    text: ({ base, model, key }) =>
      pretty({
        provider: {
          exo: {
            npm: '@ai-sdk/openai-compatible', name: 'exo', options: { baseURL: `${base}/v1`, apiKey: key }, models: { [model]: {} },
          },
        },
      }),
  },
  {
    name: 'aider', kind: 'agents', place: 'shell',
    text: ({ base, model, key }) => `OPENAI_API_BASE=${base}/v1 OPENAI_API_KEY=${key} aider --model openai/${model}`,
  },
  {
    name: 'Cline', kind: 'apps', place: { step: 'cline' },
    text: ({ base, model, key }) => `Base URL: ${base}/v1\nAPI Key: ${key}\nModel ID: ${model}`,
  },
  {
    name: 'Open WebUI', kind: 'apps', place: { step: 'openWebui' },
    text: ({ base, key }) => `URL: ${base}/v1\nKey: ${key}`,
  },
  {
    name: 'Continue', kind: 'apps', place: { file: '~/.continue/config.yaml' },
    text: ({ base, model, key }) =>
      [
        'models:', `  - name: ${model}`, '    provider: openai', `    model: ${model}`, `    apiBase: ${base}/v1`, `    apiKey: ${key}`,
        '    roles: [chat, edit, apply]',
      ].join('\n'),
  },
  {
    name: 'Zed', kind: 'apps', place: { step: 'zed' },
    text: ({ base, model }) =>
      pretty({
        language_models: {
          openai_compatible: {
            exo: { api_url: `${base}/v1`, available_models: [{ name: model, display_name: model, max_tokens: 32768 }] },
          },
        },
      }),
  },
  {
    name: 'curl', kind: 'code', place: 'shell',
    text: ({ base, model, key }) =>
      `curl ${base}/v1/chat/completions \\\n` + (key === noKey ? '' : `  -H "Authorization: Bearer ${key}" \\\n`) +
      `  -H "Content-Type: application/json" \\\n  -d '${JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello' }] })}'`,
  },
  {
    name: 'OpenAI, Python', kind: 'code', place: { file: 'chat.py' },
    text: ({ base, model, key }) =>
      [
        'from openai import OpenAI', '', `client = OpenAI(base_url="${base}/v1", api_key="${key}")`,
        'answer = client.chat.completions.create(', `    model="${model}",`,
        '    messages=[{"role": "user", "content": "Hello"}],', ')', 'print(answer.choices[0].message.content)',
      ].join('\n'),
  },
  {
    name: 'OpenAI, JavaScript', kind: 'code', place: { file: 'chat.mjs' },
    text: ({ base, model, key }) =>
      [
        "import OpenAI from 'openai';", '', `const client = new OpenAI({ baseURL: '${base}/v1', apiKey: '${key}' });`,
        'const answer = await client.chat.completions.create({', `  model: '${model}',`,
        "  messages: [{ role: 'user', content: 'Hello' }],", '});', 'console.log(answer.choices[0].message.content);',
      ].join('\n'),
  },
];
