// A conversation is a tree of messages: each names its parent, and an edited question or another
// answer is one more child of the same parent. What is shown is the path from a root to a leaf.
// Trees come from the network and from imported files: a parent that is not there makes a root,
// and a ring of parents ends where it closes.

export interface TreeMessage {
  id: string;
  parent: string | null;
  created: number;
}

export interface Place {
  // Of the message among its siblings, from 0.
  index: number;
  siblings: string[];
}

export class MessageTree<M extends TreeMessage> {
  readonly #byId = new Map<string, M>();
  // Children by parent, oldest first; of roots by null.
  readonly #children = new Map<string | null, M[]>();

  constructor(messages: Iterable<M>) {
    for (const message of messages) this.#byId.set(message.id, message);
    for (const message of this.#byId.values()) {
      const parent = this.#parentOf(message);
      const siblings = this.#children.get(parent);
      if (siblings) siblings.push(message);
      else this.#children.set(parent, [message]);
    }
    for (const siblings of this.#children.values()) siblings.sort(byAge);
  }

  get(id: string): M | undefined {
    return this.#byId.get(id);
  }

  // The messages from the root to `leaf`; of an unknown leaf those to the newest one.
  path(leaf: string | null): M[] {
    const path: M[] = [];
    const seen = new Set<string>();
    let at = (leaf !== null && this.#byId.get(leaf)) || this.#newest();
    while (at && !seen.has(at.id)) {
      seen.add(at.id);
      path.push(at);
      const parent = this.#parentOf(at);
      at = parent === null ? undefined : this.#byId.get(parent);
    }
    return path.reverse();
  }

  place(id: string): Place {
    const message = this.#byId.get(id);
    if (!message) return { index: 0, siblings: [id] };
    const siblings = (this.#children.get(this.#parentOf(message)) ?? []).map((one) => one.id);
    return { index: siblings.indexOf(id), siblings };
  }

  // Where the branch of `id` ends: its newest child's newest child, and so on.
  leafOf(id: string): string {
    const seen = new Set<string>();
    let at = id;
    for (;;) {
      seen.add(at);
      const next = this.#children.get(at)?.at(-1);
      if (!next || seen.has(next.id)) return at;
      at = next.id;
    }
  }

  #parentOf(message: M): string | null {
    return message.parent !== null && this.#byId.has(message.parent) ? message.parent : null;
  }

  #newest(): M | undefined {
    let newest: M | undefined;
    for (const one of this.#byId.values()) if (!newest || byAge(newest, one) < 0) newest = one;
    return newest;
  }
}

// Two of one millisecond are in the order of their ids, on every device.
function byAge(a: TreeMessage, b: TreeMessage): number {
  return a.created - b.created || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

// An id of a message or conversation, which its author chooses: 32 hexadecimal digits.
// `getRandomValues` is there without a secure context, `randomUUID` is not.
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
