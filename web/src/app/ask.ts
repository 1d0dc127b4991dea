// Hands a question from another view to the chat.
import { go } from './router.svelte';

export interface Asked {
  text: string;
  model?: string;
}

let waiting: Asked | undefined;

// Opens the chat, which sends `asked` as a new conversation.
export function askInChat(asked: Asked): void {
  waiting = asked;
  go('chat');
}

// What the chat has to send, once.
export function takeAsked(): Asked | undefined {
  const asked = waiting;
  waiting = undefined;
  return asked;
}
