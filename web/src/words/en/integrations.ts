export const integrations = {
  text: 'Programs that already speak to OpenAI, Anthropic or Ollama work with this cluster. Copy what is below.',
  model: 'Model',
  address: 'Address',
  noKey: 'On this device no key is needed.',
  needsKey: 'From this address each program needs a key.',
  makeKey: 'Make one in the settings',
  file: (path: string) => `In ${path}:`,
  run: 'Run:',
  enter: 'In its settings:',
  launch: (command: string) => `Or let exo set it up and start it: ${command}`,
  noModel: 'There is no model yet. Get one first.',
  kinds: { agents: 'Coding agents', apps: 'Apps and editors', code: 'From your own code' },
  steps: {
    openWebui: 'Admin Panel → Settings → Connections → OpenAI API, add a connection:',
    zed: 'Settings file of Zed (zed: open settings):',
    cline: 'API Provider “OpenAI Compatible”:',
  },
};
