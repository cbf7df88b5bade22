import { formatCount, formatExactBytes } from '@kvlr/report';
import type { Side, WritingProgress } from '../messages.ts';
import { element, requireElement, setText } from './elements.ts';

const titles: Readonly<Record<Side, string>> = { original: 'Original', compressed: 'Compressed' };

/** One model: what it writes, where that leaves the other's text, and the bytes of its cache as they grow. */
export class WritingColumn {
  readonly #root: HTMLElement;
  #text = '';
  /** Bytes at which the bar is full: the same for both columns. */
  #fullBytes = 1;

  constructor(side: Side) {
    this.#root = element(`#column-${side}`);
    const template = requireElement('#column-template', HTMLTemplateElement);
    this.#root.append(template.content.cloneNode(true));
    const heading = element('h3', this.#root);
    heading.textContent = titles[side];
    heading.id = `${side}-title`;
  }

  /** Says what the model keeps: '4 KV heads of 64, 8 bits'. */
  describe(setting: string): void {
    setText('.setting', setting, this.#root);
  }

  begin(prompt: string, fullBytes: number): void {
    this.#fullBytes = fullBytes;
    this.#text = '';
    setText('.given', prompt, this.#root);
    this.#root.dataset.state = 'writing';
    setText('.speed', '', this.#root);
    this.#showCache(0, 0);
    this.mark(0);
  }

  show({ text, cachedTokens, cacheBytes, sharedCharacters }: WritingProgress): void {
    this.#text = text;
    this.mark(sharedCharacters);
    this.#showCache(cachedTokens, cacheBytes);
  }

  /** Marks where the text leaves the other one: the first word of its own. */
  mark(sharedCharacters: number): void {
    const [, space, word, rest] = /^(\s*)(\S*)(.*)$/s.exec(this.#text.slice(sharedCharacters))!;
    setText('.shared', this.#text.slice(0, sharedCharacters) + space, this.#root);
    setText('.parting', word!, this.#root);
    setText('.apart', rest!, this.#root);
  }

  showSpeed(tokensPerSecond: number): void {
    setText('.speed', `${tokensPerSecond.toFixed(tokensPerSecond < 10 ? 1 : 0)} tokens/s`, this.#root);
  }

  end(): void {
    this.#root.dataset.state = 'idle';
  }

  #showCache(tokens: number, bytes: number): void {
    setText('.context', tokens === 0 ? '' : `cache of ${formatCount(tokens)} tokens`, this.#root);
    setText('.bytes', formatExactBytes(bytes), this.#root);
    element('.fill', this.#root).style.transform = `scaleX(${Math.min(1, bytes / this.#fullBytes)})`;
  }
}
