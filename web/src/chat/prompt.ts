// What is sent to the node for an answer: the shown branch as messages of the OpenAI dialect.
import type { Message } from '../api/types';
import { readTools, type ChatSettings } from './settings';

interface ApiMessage {
  role: string;
  content: string;
  tool_calls?: Message['tool_calls'];
  tool_call_id?: string;
}

export function completionBody(model: string, path: Message[], settings: ChatSettings): object {
  const { system, alternatives, tools, ...fields } = settings;
  const messages = answered(path).map(messageOf);
  if (system) messages.unshift({ role: 'system', content: system });
  return {
    model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
    ...fields,
    ...(alternatives ? { logprobs: true, top_logprobs: alternatives } : {}),
    ...(tools ? { tools: readTools(tools) } : {}),
  };
}

// A question that got no answer, since it failed or was stopped, is not asked again with the next one.
function answered(path: Message[]): Message[] {
  return path.filter(({ role }, i) => role !== 'user' || path[i + 1]?.role !== 'user');
}

function messageOf(message: Message): ApiMessage {
  const { role, tool_calls, tool_call_id } = message;
  return {
    role,
    content: contentOf(message),
    ...(tool_calls?.length ? { tool_calls } : {}),
    ...(tool_call_id ? { tool_call_id } : {}),
  };
}

// Files stand before the question, each in a fence that is longer than any in it.
export function contentOf(message: Message): string {
  const files = (message.attachments ?? []).map(({ name, text }) => {
    const runs = text.match(/`{3,}/g) ?? [];
    const fence = '`'.repeat(Math.max(3, ...runs.map((run) => run.length + 1)));
    return `File ${name}:\n${fence}\n${text.replace(/\n$/, '')}\n${fence}`;
  });
  return [...files, message.content].filter((part) => part !== '').join('\n\n');
}

// A conversation's first title: the beginning of its first question, cut between words.
export function titleOf(question: string, longest = 60): string {
  const line = question.trim().split('\n', 1)[0]!.replace(/\s+/g, ' ');
  const signs = [...line];
  if (signs.length <= longest) return line;
  const cut = signs.slice(0, longest).join('');
  const space = cut.lastIndexOf(' ');
  return (space > longest / 2 ? cut.slice(0, space) : cut) + '…';
}
