import { findArchitecture, type HuggingFaceCheckpoint, requireWideHeads, stockShape } from '@kvlr/checkpoint';
import { allowsWideHeads, type CompressionMethod, canWidenHeads } from '@kvlr/compression';
import { attentionProducts, type Checkpoint, countShapeParameters, type DecoderShape, KvlrError } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';

/** The KV heads of a result. */
export interface ResultHeads {
  /** Of every layer under the uniform budget. */
  keyValueHeads: number;
  /** Their width in widths of the source's heads. */
  headWidth: number;
}

/** Heads are widened by themselves ('auto') as long as that adds at most this share to the parameters. */
const mostAdded = 0.1;

/**
 * How many KV heads the result has: the recipe's count, or as many as take its share of the source's cache.
 *
 * @throws KvlrError 'heads-not-divisible' unless the count divides the source's KV heads into groups of at least `headWidth` heads;
 *   `data.nearest` is one that does.
 */
export function resolveKeyValueHeads(shape: DecoderShape, wanted: Recipe['keyValueHeads'], headWidth = 1): number {
  const source = shape.numKeyValueHeads;
  const heads = typeof wanted === 'number' ? wanted : (source * wanted.keep) / headWidth;
  const possible = divisorsOf(source).filter((count) => source / count >= headWidth);
  if (possible.includes(heads)) return heads;
  const wide = headWidth === 1 ? '' : ` of ${headWidth} times the width`;
  const asked =
    typeof wanted === 'number'
      ? `${wanted}${wide}`
      : `${rounded(wanted.keep * 100)} % of ${source}, which is ${rounded(heads)}${wide}`;
  const nearest = possible.reduce(
    (best, count) => (Math.abs(count - heads) < Math.abs(best - heads) ? count : best),
    possible[0] ?? 1,
  );
  throw new KvlrError('heads-not-divisible', {
    message: `expected a count that divides the model's ${source} KV heads, got ${asked}`,
    hint:
      possible.length === 0
        ? `The model's heads can be widened to ${source} times their width at most.`
        : `Possible: ${possible.join(', ')} KV heads${wide}; nearest is ${nearest}, ${rounded((100 * nearest * headWidth) / source)} %.`,
    where: { argument: 'keyValueHeads' },
    data: { numKeyValueHeads: source, wanted, headWidth, divisors: possible, nearest },
  });
}

/**
 * What a share of a source's heads comes to where it does not divide them: the nearest count below that does, and a note that says
 * so. Counts, and shares below which there is none, stay as they are.
 */
export function dividingShare(
  shape: DecoderShape,
  wanted: Recipe['keyValueHeads'],
  width: Recipe['headWidth'] = 1,
): { keyValueHeads: Recipe['keyValueHeads']; note?: string } {
  if (typeof wanted === 'number') return { keyValueHeads: wanted };
  const source = shape.numKeyValueHeads;
  const headWidth = width === 'auto' ? 1 : width;
  const heads = (source * wanted.keep) / headWidth;
  const possible = divisorsOf(source).filter((count) => source / count >= headWidth && count <= heads);
  const nearest = possible.at(-1);
  if (nearest === undefined || nearest === heads) return { keyValueHeads: wanted };
  const asked = `${rounded(100 * wanted.keep)} % of ${source} KV heads is ${rounded(source * wanted.keep)}`;
  const kept = `${nearest} ${nearest === 1 ? 'is' : 'are'} kept${headWidth === 1 ? '' : `, ${headWidth} times as wide`}`;
  const share = rounded((100 * nearest * headWidth) / source);
  return { keyValueHeads: nearest, note: `${asked}, which does not divide them: ${kept}, ${share} %.` };
}

function rounded(value: number): number {
  return Number(value.toFixed(2));
}

/** All divisors of a count, ascending. */
export function divisorsOf(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1).filter((divisor) => count % divisor === 0);
}

/** What decides the heads of a result. */
export interface HeadsRequest {
  model: Pick<Checkpoint, 'shape'>;
  recipe: Pick<Recipe, 'keyValueHeads' | 'headWidth'>;
  method: CompressionMethod;
  /** Whether every layer keeps the same. */
  uniform: boolean;
}

/**
 * The heads of the result that a recipe asks for.
 *
 * @throws KvlrError 'heads-not-divisible'; 'invalid-argument' where the method, and 'unsupported-feature' where the model's family or
 *   its positions cannot have wide heads; 'recipe-invalid' for wide heads and a budget by layer.
 */
export function resolveHeads(request: HeadsRequest): ResultHeads {
  const { model, recipe } = request;
  const { keyValueHeads, headWidth } = recipe;
  if (headWidth !== 'auto') {
    if (headWidth > 1) requireWide(request);
    return { keyValueHeads: resolveKeyValueHeads(model.shape, keyValueHeads, headWidth), headWidth };
  }
  const { shape } = model;
  const plain = { keyValueHeads: resolveKeyValueHeads(shape, keyValueHeads), headWidth: 1 };
  // Who names a count means heads as they are; a share of the cache leaves open what it is kept in.
  if (typeof keyValueHeads === 'number' || !canBeWide(request)) return plain;
  const share = keyValueHeads.keep;
  const most = (1 + mostAdded) * countShapeParameters(shape);
  const wider = divisorsOf(shape.numKeyValueHeads)
    .map((count) => ({ keyValueHeads: count, headWidth: (share * shape.numKeyValueHeads) / count }))
    .filter((heads) => heads.headWidth > 1 && Number.isInteger(heads.headWidth))
    .filter((heads) => shape.numKeyValueHeads / heads.keyValueHeads >= heads.headWidth)
    .sort((left, right) => right.headWidth - left.headWidth);
  const parametersOf = (heads: ResultHeads) =>
    countShapeParameters(stockShape(shape, heads.keyValueHeads, heads.headWidth));
  return wider.find((heads) => parametersOf(heads) <= most) ?? plain;
}

function canBeWide(request: HeadsRequest): boolean {
  try {
    requireWide(request);
    return true;
  } catch (error) {
    if (KvlrError.isInstance(error)) return false;
    throw error;
  }
}

function requireWide({ model, method, uniform }: HeadsRequest): void {
  if (!allowsWideHeads(method)) {
    throw new KvlrError('invalid-argument', {
      message: `expected heads of the source's width for ${method.title}, got wider ones`,
      hint: 'Take rope-averaged-received, or another method whose keys and values may have any rank.',
      where: { argument: 'headWidth' },
      data: { method: method.title },
    });
  }
  if (!uniform) {
    throw new KvlrError('recipe-invalid', {
      message: 'expected the uniform budget for wide heads, got another',
      hint: "Keep the same in every layer, or heads of the source's width.",
      where: { argument: 'headWidth' },
    });
  }
  if (!canWidenHeads(model.shape)) {
    throw new KvlrError('unsupported-feature', {
      message:
        'expected projections without norms, clipping and scales of scores of their own for wide heads, got others',
      hint: "Keep heads of the source's width.",
      where: { argument: 'headWidth' },
      data: { architecture: model.shape.architecture },
    });
  }
  requireWideHeads(
    (model as Partial<HuggingFaceCheckpoint>).architecture ?? findArchitecture(model.shape.architecture),
  );
  stockShape(model.shape, 1, 2);
}

/** What wide heads cost beside the bytes that are kept. */
export interface HeadPrice {
  /** Numbers in the weights of source and result. */
  parameters: { source: number; result: number };
  /** Multiplications of one token that reads one cached token, all layers. */
  attentionProducts: { source: number; result: number };
}

/** What heads of a result cost, from shapes alone. */
export function priceOfHeads(shape: DecoderShape, { keyValueHeads, headWidth }: ResultHeads): HeadPrice {
  const result = stockShape(shape, keyValueHeads, headWidth);
  return {
    parameters: { source: countShapeParameters(shape), result: countShapeParameters(result) },
    attentionProducts: { source: attentionProducts(shape), result: attentionProducts(result) },
  };
}
