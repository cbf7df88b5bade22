import type { GenerationProgress, ModelFacts, Side } from '../messages.ts';
import { formatBytes, formatChange, formatCount, formatMeasurement, formatRatio } from './format.ts';
import { requireElement } from './forms.ts';

const titles: Readonly<Record<Side, string>> = { original: 'Original', compressed: 'Compressed' };

/** One model: its cache, drawn and in numbers, and what it writes. */
export class ModelColumn {
  readonly #root: HTMLElement;
  #facts: ModelFacts | undefined;
  /** Bytes at which the bar is full: the same for both columns. */
  #fullBytes = 1;

  constructor(root: HTMLElement, side: Side, template: HTMLTemplateElement) {
    this.#root = root;
    root.append(template.content.cloneNode(true));
    const heading = this.#part('h3');
    heading.textContent = titles[side];
    heading.id = `${side}-title`;
  }

  /** Shows a model's cache and quality beside those of the original. */
  describe(facts: ModelFacts, original: ModelFacts): void {
    this.#facts = facts;
    const { numLayers, keyValueHeads, headDim, bytesPerElement, bytesPerToken, perplexity, perplexityRatio } = facts;
    this.#part('.bytes-per-token').textContent = formatBytes(bytesPerToken);
    this.#part('.ratio').textContent =
      facts === original ? '' : `${formatRatio(original.bytesPerToken / bytesPerToken)} smaller`;
    this.#part('.sum').textContent =
      `2 × ${numLayers} layers × ${keyValueHeads} KV heads × ${headDim} × ${bytesPerElement} bytes`;
    this.#part('.perplexity').textContent = formatMeasurement(perplexity);
    this.#part('.change').textContent = perplexityRatio === undefined ? '' : formatChange(perplexityRatio);
    this.#part('.speed').textContent = '–';
    drawHeads(this.#part('.heads'), facts, original.keyValueHeads);
  }

  /** Empties the text; the bar is full when the original model's cache holds `longestContext` tokens. */
  begin(prompt: string, longestContext: number, originalBytesPerToken: number): void {
    this.#fullBytes = longestContext * originalBytesPerToken;
    this.#part('.given').textContent = prompt;
    this.#part('.written').textContent = '';
    this.#root.dataset.state = 'writing';
    this.#showCache(0, 0);
  }

  show(progress: GenerationProgress): void {
    this.#part('.written').textContent = progress.text;
    if (progress.tokensPerSecond !== undefined) {
      this.#part('.speed').textContent = `${progress.tokensPerSecond.toFixed(1)} tokens/s`;
    }
    this.#showCache(progress.cachedTokens, progress.cacheBytes);
  }

  end(): void {
    this.#root.dataset.state = 'idle';
  }

  #showCache(tokens: number, bytes: number): void {
    if (this.#facts === undefined) return;
    this.#part('.context').textContent = `Cache of ${formatCount(tokens, 'token')}`;
    this.#part('.bytes').textContent = formatBytes(bytes);
    this.#part('.fill').style.transform = `scaleX(${Math.min(1, bytes / this.#fullBytes)})`;
  }

  #part(selector: string): HTMLElement {
    return requireElement(this.#root, selector, HTMLElement);
  }
}

/** A row of squares for each layer, a square for each KV head; the heads that are gone stay as outlines. */
function drawHeads(figure: HTMLElement, { numLayers, keyValueHeads }: ModelFacts, originalHeads: number): void {
  figure.setAttribute('aria-label', `${numLayers} layers with ${keyValueHeads} of ${originalHeads} KV heads each`);
  figure.style.setProperty('--heads', `${originalHeads}`);
  const squares = Array.from({ length: numLayers * originalHeads }, (_, place) => {
    const square = document.createElement('i');
    if (place % originalHeads >= keyValueHeads) square.className = 'gone';
    return square;
  });
  figure.replaceChildren(...squares);
}
