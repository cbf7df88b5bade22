import { KvlrError, type Tokenizer } from '@kvlr/core';

/** Tokens that are decoded along with new ones, since a tokenizer may treat a text's beginning differently. */
const contextTokens = 5;
/** What a decoder gives in place of bytes that are no character, or not yet. */
const replacement = '\uFFFD';
/** A character of UTF-8 takes at most four bytes, and so three at most can wait for the last. */
const waitingBytes = 3;
/** Tokens after which the context is cut even in the middle of a character. */
const longestContext = 32;

/**
 * Turns tokens into text as they come. Whole characters are handed out; the bytes of one that is not complete yet are held back,
 * wherever the borders of tokens lie. Each call decodes only the last few tokens, however long the text has grown.
 */
export class TextStream {
  readonly #tokenizer: Pick<Tokenizer, 'decode'>;
  #ids: number[];
  /** Characters of the tokens' text that were handed out. */
  #given: number;

  constructor(tokenizer: Pick<Tokenizer, 'decode'>, promptIds: ArrayLike<number>) {
    this.#tokenizer = tokenizer;
    this.#ids = Array.from(promptIds).slice(-contextTokens);
    this.#given = wholeLength(this.#text());
  }

  /** The text that this token completes; empty while a character is unfinished. */
  push(tokenId: number): string {
    this.#ids.push(tokenId);
    const text = this.#text();
    const whole = Math.max(this.#given, wholeLength(text));
    const piece = text.slice(this.#given, whole);
    this.#given = whole;
    if (whole === text.length || this.#ids.length > longestContext) {
      this.#ids = this.#ids.slice(-contextTokens - waitingBytes);
      this.#given = wholeLength(this.#text());
    }
    return piece;
  }

  /** What was held back, as far as it is text. */
  flush(): string {
    const text = this.#text().slice(this.#given);
    this.#given += text.length;
    return text;
  }

  #text(): string {
    return this.#tokenizer.decode(this.#ids, { skipSpecialTokens: true });
  }
}

/** Length of a text without what may be the beginning of a character at its end. */
function wholeLength(text: string): number {
  let waiting = 0;
  while (waiting < waitingBytes && text[text.length - 1 - waiting] === replacement) waiting++;
  return text.length - waiting;
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
