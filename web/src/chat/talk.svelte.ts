// An open conversation: its messages, the answer that is being written, and what has gone wrong.
// Talks belong to the page, not to a view: an answer goes on while another view is shown.
import type { Attachment, Conversation, Message, MessageStats } from '../api/types';
import type { Answer, AnswerPart } from './answer';
import { keeping, withKeeper } from './keeping.svelte';
import { later } from './later';
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
  // The message with what has come so far; undefined: nothing yet.
  written(): Message | undefined;
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
  // Why the last answer failed, and the message that it was to answer.
  fault = $state.raw<{ parent: string | null; error: unknown }>();
  // The last answer was ended by the person.
  stopped = $state(false);
  // Why the node has not kept the last changes.
  unsaved = $state.raw<unknown>();

  // Not $derived: that would end with the view that first showed the talk.
  #tree = new MessageTree(this.messages);
  #treeOf = this.messages;
  readonly #saver = new Saver((fault) => (this.unsaved = fault));

  constructor(from?: Conversation) {
    if (from) this.take(from);
  }

  get tree(): MessageTree<Message> {
    if (this.#treeOf !== this.messages) {
      this.#treeOf = this.messages;
      this.#tree = new MessageTree(this.messages);
    }
    return this.#tree;
  }

  // The messages that are shown, from the first question on.
  get path(): Message[] {
    return this.tree.path(this.leaf);
  }

  // What the node has of it.
  take(from: Conversation): void {
    this.id = from.id;
    this.title = from.title;
    this.model = from.model ?? '';
    this.settings = readSettings(from.settings);
    this.leaf = from.leaf;
    // A message that says the same stays the same object: it is not drawn again.
    this.messages = from.messages.map((one) => {
      const known = this.tree.get(one.id);
      return known && saysTheSame(known, one) ? known : one;
    });
  }

  // All of it, as it is here.
  conversation(): Conversation {
    const times = this.messages.map((one) => one.updated);
    const created = Math.min(Date.now(), ...this.messages.map((one) => one.created));
    return {
      id: this.id, title: this.title, model: this.model, settings: { ...this.settings }, leaf: this.leaf,
      created, updated: Math.max(created, ...times), messages: this.messages,
    };
  }

  // Reads it anew after a change elsewhere; not while something here is not kept yet.
  async refresh(): Promise<void> {
    if (this.id === '' || this.running) return;
    await this.#saver.idle();
    const from = await keeping.keeper.load(this.id);
    if (!this.running) this.take(from);
  }

  // Makes it a conversation that is kept, before its first question. Throws ApiError.
  async begin(question: string): Promise<void> {
    this.title = titleOf(question);
    const fields = { title: this.title, model: this.model, settings: { ...this.settings } };
    const { id } = await withKeeper((keeper) => keeper.create(fields));
    this.id = id;
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

  // Whether the last question has no answer: it was stopped, failed, or the page was closed.
  get unanswered(): boolean {
    return !this.running && !this.fault && this.path.at(-1)?.role === 'user';
  }

  // Answers again what an answer failed for.
  async retry(): Promise<void> {
    if (this.fault) await this.#answer(this.fault.parent);
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

  // Keeps what is not kept yet, since the page is being closed: also as much of an answer as has come.
  leave(): void {
    this.#saver.leave();
    const message = this.running?.written();
    if (!message) return;
    keeping.keeper.put(this.id, message, true).catch(() => {});
    keeping.keeper.change(this.id, { leaf: message.id }, true).catch(() => {});
  }

  // Shows the branch of that message.
  show(id: string): void {
    this.#turnTo(this.tree.leafOf(id));
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
    this.#add(question);
    await this.#answer(question.id);
  }

  async #answer(parent: string | null): Promise<void> {
    if (this.running) return;
    const before = this.leaf;
    const path = this.tree.path(parent);
    const message = { ...this.#message('assistant', parent, ''), model: this.model };
    const stop = new AbortController();
    let answer: Answer | undefined;
    const draw = later(drawMs, () => (this.part = answer?.part()));
    // Until it has ended it is kept as if it were stopped there.
    let ended: MessageStats['ended'] = 'stopped';
    const soFar = (): Message | undefined => (answer && !answer.empty ? written(message, answer, ended) : undefined);
    const keep = later(keepMs, () => this.#keep(written(message, answer, ended)));
    this.fault = undefined;
    this.stopped = false;
    this.#put(message);
    this.leaf = message.id;
    this.running = { id: message.id, stop, began: message.created, written: soFar };
    try {
      const body = completionBody(this.model, path, this.settings);
      await streamAnswer(body, stop.signal, (so) => {
        answer = so;
        draw.ask();
        if (!so.empty) keep.ask();
      });
      ended = undefined;
    } catch (error) {
      this.stopped = stop.signal.aborted;
      if (!this.stopped) {
        this.fault = { parent, error };
        ended = 'failed';
      }
    }
    draw.cancel();
    keep.cancel();
    this.running = undefined;
    this.part = undefined;
    const whole = soFar();
    if (whole) this.#add(whole);
    else this.#drop(message, before);
  }

  // An answer of which nothing has come leaves no message.
  #drop(message: Message, before: string | null): void {
    this.messages = this.messages.filter((one) => one.id !== message.id);
    this.leaf = before;
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
    this.#saver.save(message.id, (leaving) => keeping.keeper.put(id, message, leaving));
  }

  #turnTo(leaf: string): void {
    this.leaf = leaf;
    this.#change({ leaf });
  }

  #change(fields: Parameters<typeof keeping.keeper.change>[1]): void {
    const { id } = this;
    if (id === '') return;
    this.#saver.save(Object.keys(fields)[0]!, (leaving) => keeping.keeper.change(id, fields, leaving));
  }
}

function written(message: Message, answer: Answer | undefined, ended: MessageStats['ended']): Message {
  const part = answer?.part();
  const stats = ended ? { ...part?.stats, ended } : part?.stats;
  return { ...message, ...part, ...(stats ? { stats } : {}), updated: Date.now() };
}

function saysTheSame(a: Message, b: Message): boolean {
  return (
    a.content === b.content && a.reasoning === b.reasoning && a.parent === b.parent &&
    a.tool_calls?.length === b.tool_calls?.length && a.stats?.request === b.stats?.request
  );
}
