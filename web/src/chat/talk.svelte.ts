// An open conversation: its messages, the answer that is being written, and what has gone wrong.
// Talks belong to the page, not to a view: an answer goes on while another view is shown.
import type { Attachment, Conversation, Message } from '../api/types';
import type { AnswerPart } from './answer';
import { keeping } from './keeping.svelte';
import { completionBody, titleOf } from './prompt';
import { Saver } from './saver';
import { readSettings, type ChatSettings } from './settings';
import { streamAnswer } from './stream_answer';
import { MessageTree, newId } from './tree';

// How often a running answer is drawn, and kept by the node, in ms.
const drawMs = 50;
const keepMs = 5000;

interface Running {
  // The message that is being written.
  id: string;
  stop: AbortController;
  // Milliseconds since 1970.
  began: number;
}

export class Talk {
  // '' until there is something to keep.
  id = $state('');
  title = $state('');
  model = $state('');
  settings = $state.raw<ChatSettings>({});
  leaf = $state<string | null>(null);
  messages = $state.raw<Message[]>([]);
  // What is typed and not sent yet.
  draft = $state('');
  files = $state.raw<Attachment[]>([]);

  running = $state.raw<Running>();
  // What has come of the running answer.
  part = $state.raw<AnswerPart>();
  // Why the last answer failed, and which message it was.
  fault = $state.raw<{ message: string; error: unknown }>();
  // Why the node has not kept the last changes.
  unsaved = $state.raw<unknown>();

  readonly tree = $derived(new MessageTree(this.messages));
  readonly path = $derived(this.tree.path(this.leaf));
  readonly #saver = new Saver((fault) => (this.unsaved = fault));

  constructor(from?: Conversation) {
    if (from) this.take(from);
  }

  // What the node has of it.
  take(from: Conversation): void {
    this.id = from.id;
    this.title = from.title;
    this.model = from.model ?? '';
    this.settings = readSettings(from.settings);
    this.leaf = from.leaf;
    this.messages = from.messages;
  }

  // Reads it anew after a change elsewhere; not while something here is not kept yet.
  async refresh(): Promise<void> {
    if (this.id === '' || this.running) return;
    await this.#saver.idle();
    const from = await keeping.keeper.load(this.id);
    if (!this.running) this.take(from);
  }

  async send(text: string, attachments: Attachment[]): Promise<void> {
    const question = this.#message('user', this.path.at(-1)?.id ?? null, text);
    await this.#ask(attachments.length > 0 ? { ...question, attachments } : question);
  }

  // Asks the question again in other words, as another branch.
  async edit(id: string, text: string): Promise<void> {
    const before = this.tree.get(id);
    if (!before) return;
    const question = this.#message('user', before.parent, text);
    await this.#ask(before.attachments ? { ...question, attachments: before.attachments } : question);
  }

  // Another answer beside that one.
  async regenerate(id: string): Promise<void> {
    const parent = this.tree.get(id)?.parent ?? null;
    await this.#answer(parent);
  }

  // Answers what is there, after an answer that never came.
  async retry(): Promise<void> {
    const failed = this.fault && this.tree.get(this.fault.message);
    await this.#answer(failed?.role === 'assistant' ? failed.parent : (this.path.at(-1)?.id ?? null));
  }

  // What a tool that the model has called gave.
  giveResult(call: string, text: string): void {
    const result = { ...this.#message('tool', this.path.at(-1)?.id ?? null, text), tool_call_id: call };
    this.#add(result);
  }

  async goOn(): Promise<void> {
    await this.#answer(this.path.at(-1)?.id ?? null);
  }

  stop(): void {
    this.running?.stop.abort();
  }

  // Shows the branch of that message.
  show(id: string): void {
    this.#turnTo(this.tree.leafOf(id));
  }

  rename(title: string): void {
    this.title = title;
    this.#change({ title });
  }

  choose(model: string): void {
    this.model = model;
    this.#change({ model });
  }

  set(settings: ChatSettings): void {
    this.settings = settings;
    this.#change({ settings: { ...settings } });
  }

  #message(role: Message['role'], parent: string | null, content: string): Message {
    const now = Date.now();
    return { id: newId(), parent, role, content, created: now, updated: now };
  }

  async #ask(question: Message): Promise<void> {
    if (this.running) return;
    if (this.id === '') await this.#begin(question.content);
    this.#add(question);
    await this.#answer(question.id);
  }

  async #begin(question: string): Promise<void> {
    this.title = titleOf(question);
    const { id } = await keeping.keeper.create({
      title: this.title, model: this.model, settings: { ...this.settings },
    });
    this.id = id;
  }

  async #answer(parent: string | null): Promise<void> {
    if (this.running) return;
    const path = this.tree.path(parent);
    const message = { ...this.#message('assistant', parent, ''), model: this.model };
    const stop = new AbortController();
    this.fault = undefined;
    this.part = undefined;
    this.#put(message);
    this.leaf = message.id;
    this.running = { id: message.id, stop, began: Date.now() };
    try {
      const body = completionBody(this.model, path, this.settings);
      const answer = await streamAnswer(body, stop.signal, this.#drawer(message));
      this.#finish(message, answer.part());
    } catch (error) {
      this.#finish(message, this.part);
      if (!stop.signal.aborted) this.fault = { message: this.leaf ?? '', error };
    }
  }

  // Shows and keeps a running answer now and then, not with each token.
  #drawer(message: Message) {
    let drawn = 0;
    let kept = Date.now();
    return (answer: { part(): AnswerPart }): void => {
      const now = Date.now();
      if (now - drawn < drawMs) {
        return this.#drawLater(answer, drawMs);
      }
      drawn = now;
      this.part = answer.part();
      if (now - kept < keepMs) return;
      kept = now;
      this.#keep({ ...message, ...this.part, updated: now });
    };
  }

  #later: ReturnType<typeof setTimeout> | undefined;
  // The last tokens before a pause are shown, too.
  #drawLater(answer: { part(): AnswerPart }, ms: number): void {
    this.#later ??= setTimeout(() => {
      this.#later = undefined;
      if (this.running) this.part = answer.part();
    }, ms);
  }

  // An answer of which nothing has come leaves no message.
  #finish(message: Message, part: AnswerPart | undefined): void {
    clearTimeout(this.#later);
    this.#later = undefined;
    this.running = undefined;
    this.part = undefined;
    if (part && !isEmpty(part)) {
      this.#add({ ...message, ...part, updated: Date.now() });
    } else {
      this.messages = this.messages.filter((one) => one.id !== message.id);
      this.#turnTo(message.parent);
    }
  }

  #add(message: Message): void {
    this.#put(message);
    this.#keep(message);
    this.#turnTo(message.id);
  }

  #put(message: Message): void {
    const others = this.messages.filter((one) => one.id !== message.id);
    this.messages = [...others, message];
  }

  #keep(message: Message): void {
    const { id } = this;
    this.#saver.save(message.id, () => keeping.keeper.put(id, message));
  }

  #turnTo(leaf: string | null): void {
    this.leaf = leaf;
    if (leaf !== null) this.#change({ leaf });
  }

  #change(fields: Parameters<typeof keeping.keeper.change>[1]): void {
    const { id } = this;
    if (id === '') return;
    this.#saver.save(Object.keys(fields)[0]!, () => keeping.keeper.change(id, fields));
  }
}

function isEmpty({ content, reasoning, tool_calls: calls }: AnswerPart): boolean {
  return content === '' && !reasoning && !calls?.length;
}
