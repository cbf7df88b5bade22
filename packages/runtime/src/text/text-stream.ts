import type { Tokenizer } from '@kvlr/core';

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
