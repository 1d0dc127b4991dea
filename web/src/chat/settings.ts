// What a conversation asks of a model beside its messages. Absent: the model's own default.
export interface ChatSettings {
  system?: string;
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  max_tokens?: number;
  seed?: number;
  reasoning_effort?: ReasoningEffort;
  // Ask for the probabilities of the tokens and of so many others in their place.
  alternatives?: number;
  // Tools that the model may call: JSON of a list, as the API takes it.
  tools?: string;
}
export type ReasoningEffort = 'none' | 'low' | 'medium' | 'high';

export type NumberName = 'temperature' | 'top_p' | 'top_k' | 'min_p' | 'max_tokens' | 'seed';

// The ranges of docs/api.md.
export const numberFields: { name: NumberName; min: number; max: number; step: number }[] = [
  { name: 'temperature', min: 0, max: 2, step: 0.1 },
  { name: 'top_p', min: 0, max: 1, step: 0.05 },
  { name: 'top_k', min: -1, max: 1000, step: 1 },
  { name: 'min_p', min: 0, max: 1, step: 0.05 },
  { name: 'max_tokens', min: 1, max: 1_000_000, step: 1 },
  { name: 'seed', min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 },
];

const efforts: unknown[] = ['none', 'low', 'medium', 'high'];

// Settings as the node kept them, or an imported file had them: what is no setting is dropped.
export function readSettings(raw: unknown): ChatSettings {
  const from = (typeof raw === 'object' && raw !== null ? raw : {}) as Record<string, unknown>;
  const settings: ChatSettings = {};
  for (const { name, min, max } of numberFields) {
    const value = from[name];
    if (typeof value === 'number' && value >= min && value <= max) settings[name] = value;
  }
  if (typeof from.system === 'string' && from.system !== '') settings.system = from.system;
  if (typeof from.tools === 'string' && from.tools !== '') settings.tools = from.tools;
  if (efforts.includes(from.reasoning_effort)) {
    settings.reasoning_effort = from.reasoning_effort as ReasoningEffort;
  }
  const others = from.alternatives;
  if (typeof others === 'number' && others >= 1 && others <= 20) settings.alternatives = Math.floor(others);
  return settings;
}

// The tools of a text that someone typed. Throws an Error that says what is wrong with it.
export function readTools(text: string): unknown[] {
  const tools: unknown = JSON.parse(text);
  if (!Array.isArray(tools)) throw new Error('[{"type": "function", "function": {"name": …}}]');
  return tools;
}
