import { KvlrError, type Tokenizer } from '@kvlr/core';

/** Tokens of the prompt that are decoded along, since a tokenizer may treat a text's beginning differently. */
const contextTokens = 5;
/** A character of UTF-8 takes at most four bytes, and so at most four tokens. */
const tokensPerCharacter = 4;

/**
 * Turns tokens into text as they come. A character that spans tokens is held back until it is whole, and each call decodes
 * only the last few tokens, however long the text has grown.
 */
export class TextStream {
  readonly #tokenizer: Pick<Tokenizer, 'decode'>;
  #ids: number[];
  /** Tokens before this one were handed out. */
  #read: number;

  constructor(tokenizer: Pick<Tokenizer, 'decode'>, promptIds: ArrayLike<number>) {
    this.#tokenizer = tokenizer;
    this.#ids = Array.from(promptIds).slice(-contextTokens);
    this.#read = this.#ids.length;
  }

  /** The text that this token completes; empty while a character is unfinished. */
  push(tokenId: number): string {
    this.#ids.push(tokenId);
    const text = this.#pending();
    const unfinished = text.endsWith('\uFFFD') && this.#ids.length - this.#read < tokensPerCharacter;
    if (unfinished) return '';
    this.#ids = this.#ids.slice(-contextTokens);
    this.#read = this.#ids.length;
    return text;
  }

  /** What was held back, as far as it is text. */
  flush(): string {
    const text = this.#pending();
    this.#read = this.#ids.length;
    return text;
  }

  #pending(): string {
    const decode = (ids: number[]) => this.#tokenizer.decode(ids, { skipSpecialTokens: true });
    return decode(this.#ids).slice(decode(this.#ids.slice(0, this.#read)).length);
  }
}

/** Watches a text that comes in pieces for strings that end it. What may be the beginning of one is held back. */
export class StopStrings {
  readonly #stops: readonly string[];
  #held = '';

  constructor(stops: readonly string[]) {
    if (stops.some((stop) => stop === '')) {
      throw new KvlrError('invalid-argument', {
        message: 'expected stop strings of at least one character, got an empty one.',
        hint: 'Leave empty stop strings out.',
        where: { argument: 'stop' },
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
