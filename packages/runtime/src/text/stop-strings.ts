import { KvlrError } from '@kvlr/core';

/** Watches a text that comes in pieces for strings that end it. What may be the beginning of one is held back. */
export class StopStrings {
  readonly #stops: readonly string[];
  #held = '';

  constructor(stops: readonly string[]) {
    if (stops.some((stop) => stop === '')) {
      throw new KvlrError('invalid-argument', {
        message: 'generate: expected stop strings of at least one character, got an empty one',
        hint: 'Leave empty stop strings out.',
      });
    }
    this.#stops = stops;
  }

  /** The text that can be handed out, up to the earliest stop string, and whether there was one. */
  push(piece: string): { text: string; stopped: boolean } {
    const text = this.#held + piece;
    const found = this.#stops.map((stop) => text.indexOf(stop)).filter((position) => position >= 0);
    if (found.length > 0) {
      this.#held = '';
      return { text: text.slice(0, Math.min(...found)), stopped: true };
    }
    const safe = text.length - this.#possibleStart(text);
    this.#held = text.slice(safe);
    return { text: text.slice(0, safe), stopped: false };
  }

  /** What was held back. */
  flush(): string {
    const text = this.#held;
    this.#held = '';
    return text;
  }

  /** Length of the longest end of the text with which a stop string begins. */
  #possibleStart(text: string): number {
    const longest = Math.max(0, ...this.#stops.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, text.length); length > 0; length--) {
      const end = text.slice(-length);
      if (this.#stops.some((stop) => stop.startsWith(end))) return length;
    }
    return 0;
  }
}
