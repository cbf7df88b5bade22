import { cacheBytes, stockLayout } from '@kvlr/core';
import { formatBytes, formatCount } from '@kvlr/report';
import { storageOf, usualCodec } from '../pair.ts';
import { element, html, setText } from './elements.ts';
import { type CachedModel, knownModels } from './known-models.ts';

const budgetBytes = 2 ** 30;
const conversationTokens = 4096;

/** Bytes of a token's keys and values in a cache of one conversation; undefined where the share leaves no whole number of heads. */
export function tokenBytes(
  { numLayers, keyValueHeads, headDim }: CachedModel,
  keep: number,
  codec: string,
): number | undefined {
  const heads = keyValueHeads * keep;
  if (!Number.isInteger(heads)) return undefined;
  const layers = Array.from({ length: numLayers }, () => ({ cache: stockLayout(heads, headDim) }));
  return cacheBytes({ layers }, { ...storageOf(codec), capacity: conversationTokens }) / conversationTokens;
}

/** The table of what 1 GiB of cache holds, of known models and of the visitor's own. */
export class CapacityTable {
  readonly #table = element('#capacity');

  show(keep: number, setting: string, codec: string, own: CachedModel | undefined): void {
    setText(
      '#holds-intro',
      `Tokens of context that fit into 1 GiB of KV cache, and conversations of ${formatCount(conversationTokens)} tokens: ` +
        `with all heads in 16 bits, and with ${setting}.`,
    );
    const head = html(
      'thead',
      {},
      html(
        'tr',
        {},
        html('th', { scope: 'col' }, 'Model'),
        html('th', { scope: 'col' }, 'As it is'),
        html('th', { scope: 'col' }, 'As the sliders say'),
      ),
    );
    const models = own ? [own, ...knownModels] : knownModels;
    const rows = models.map((model) =>
      html('tr', {}, nameCell(model), cell(tokenBytes(model, 1, usualCodec)), cell(tokenBytes(model, keep, codec))),
    );
    this.#table.replaceChildren(head, html('tbody', {}, ...rows));
  }
}

function nameCell({ name, numLayers, keyValueHeads, headDim }: CachedModel): HTMLElement {
  const shape = `${numLayers} layers, ${keyValueHeads} KV heads of ${headDim}`;
  return html('th', { scope: 'row' }, name, html('small', {}, shape));
}

function cell(bytes: number | undefined): HTMLElement {
  if (bytes === undefined) return html('td', { class: 'none' }, '–', html('small', {}, 'its heads do not divide so'));
  const tokens = Math.floor(budgetBytes / bytes);
  const conversations = Math.floor(tokens / conversationTokens);
  return html(
    'td',
    {},
    html('b', {}, formatCount(tokens)),
    html(
      'small',
      {},
      `${formatCount(conversations)} ${conversations === 1 ? 'conversation' : 'conversations'}, ${formatBytes(bytes)} a token`,
    ),
  );
}
