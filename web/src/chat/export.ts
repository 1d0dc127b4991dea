// A conversation as a file for people: the shown branch in Markdown.
import type { Conversation, Message } from '../api/types';
import { contentOf } from './prompt';
import { MessageTree } from './tree';

export function markdownOf(conversation: Conversation): string {
  const path = new MessageTree(conversation.messages).path(conversation.leaf);
  return [`# ${conversation.title}`, ...path.map(sectionOf)].join('\n\n') + '\n';
}

const heads: Record<Message['role'], string> = { user: 'User', assistant: 'Assistant', system: 'System', tool: 'Tool' };

function sectionOf(message: Message): string {
  const head = message.role === 'assistant' && message.model ? `Assistant (${message.model})` : heads[message.role];
  const calls = (message.tool_calls ?? []).map((one) => `\`${one.function.name}(${one.function.arguments})\``);
  return [`## ${head}`, contentOf(message), ...calls].filter(Boolean).join('\n\n');
}

// A name for the file: what any system takes, and not too long.
export function fileNameOf(title: string, ending: string): string {
  const name = title.normalize('NFC').replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^[-.]+|[-.]+$/g, '').slice(0, 60);
  return `${name || 'conversation'}.${ending}`;
}

export function download(name: string, text: string, kind: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // Not at once: the browser reads it after the click.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
