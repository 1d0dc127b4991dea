// A question that was typed in another view: the chat asks it when it opens. A file of its own, so
// that those views need nothing else of the chat.
let pending = '';

export function leaveQuestion(text: string): void {
  pending = text;
}

// Gives it once.
export function takeQuestion(): string {
  const text = pending;
  pending = '';
  return text;
}
