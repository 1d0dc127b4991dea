import type { Words } from '../en';

export const integrations: Words['integrations'] = {
  text: 'Programme, die schon mit OpenAI, Anthropic oder Ollama sprechen, arbeiten mit diesem Verbund. Kopiere, was unten steht.',
  model: 'Modell',
  address: 'Adresse',
  noKey: 'Auf diesem Gerät braucht es keinen Schlüssel.',
  needsKey: 'Von dieser Adresse aus braucht jedes Programm einen Schlüssel.',
  makeKey: 'Mach einen in den Einstellungen',
  file: (path: string) => `In ${path}:`,
  run: 'Führe aus:',
  enter: 'In seinen Einstellungen:',
  launch: (command: string) => `Oder lass exo es einrichten und starten: ${command}`,
  noModel: 'Es gibt noch kein Modell. Hol zuerst eines.',
  kinds: { agents: 'Programmier-Agenten', apps: 'Apps und Editoren', code: 'Aus eigenem Code' },
  steps: {
    openWebui: 'Admin-Bereich → Einstellungen → Verbindungen → OpenAI-API, eine Verbindung hinzufügen:',
    zed: 'Einstellungsdatei von Zed (zed: open settings):',
    cline: 'API-Anbieter „OpenAI Compatible“:',
  },
};
