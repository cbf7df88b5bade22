import { type CacheSide, type DecoderShape, KvlrError, type WindowReader } from '@kvlr/core';
import {
  add,
  keep,
  mul,
  sub,
  type Tensor2D,
  type Tensor4D,
  tensor1d,
  tensor2d,
  tensor4d,
  tidy,
} from '@tensorflow/tfjs-core';
import {
  attentionOf,
  attentionOutput,
  headRows,
  keysOfCache,
  productsOf,
  queryHeads,
  rebuildKeys,
  slotsOfRows,
  weightedValues,
} from './attention-block.ts';
import { streamAfterAttention, streamAfterFeedForward } from './decoder-layer.ts';
import { projectWith, softCapped } from './operations.ts';
import { createSequenceContext, type SequenceContext } from './sequence-context.ts';
import { type DecoderTensors, download, embed, readOut } from './stock-decoder.ts';
import type { LayerTensors } from './weights.ts';

/**
 * Logits of a window, [tokens, vocabSize], where attention reads keys and values as a coded cache gives them back (`WindowReader`): each
 * query those that would be coded by then, and the others as they are. Coding runs on the host, between the layers' tensors.
 */
export async function codedLogits(
  tokenIds: Int32Array,
  model: DecoderTensors,
  reader: WindowReader,
): Promise<Float32Array> {
  const { shape, layers } = model;
  const tokens = tokenIds.length;
  const context = createSequenceContext({ shape, batch: 1, tokens });
  const masks = codedMasks(reader, tokens);
  let stream = tidy(() => embed(tensor1d(tokenIds, 'int32'), Array.from(tokenIds.keys()), model));
  try {
    for (const [layer, weights] of layers.entries()) {
      const before = stream;
      stream = await codedLayer(before, weights, { shape, layer, context, masks, reader });
      before.dispose();
    }
    return await download(tidy(() => readOut(stream, model)));
  } finally {
    stream.dispose();
    for (const mask of Object.values(masks)) mask?.dispose();
    context.dispose();
  }
}

/** Which keys each query reads coded, [1, 1, tokens, tokens], 1 where it does; undefined where that is all it sees. */
type CodedMasks = Record<CacheSide, Tensor4D | undefined>;

function codedMasks(reader: WindowReader, tokens: number): CodedMasks {
  const maskOf = (side: CacheSide): Tensor4D | undefined => {
    const values = new Float32Array(tokens * tokens);
    let exact = 0;
    for (let query = 0; query < tokens; query++) {
      const { from, to } = reader.coded(side, query + 1);
      values.fill(1, query * tokens + from, query * tokens + to);
      exact += query + 1 - (to - from);
    }
    return exact === 0 ? undefined : keep(tensor4d(values, [1, 1, tokens, tokens]));
  };
  return { keys: maskOf('keys'), values: maskOf('values') };
}

interface CodedLayerSettings {
  shape: DecoderShape;
  layer: number;
  context: SequenceContext;
  masks: CodedMasks;
  reader: WindowReader;
}

async function codedLayer(
  before: Tensor2D,
  weights: LayerTensors,
  { shape, layer, context, masks, reader }: CodedLayerSettings,
): Promise<Tensor2D> {
  const { cache } = shape.layers[layer]!;
  const { rotation, mask, penalties } = context.layers[layer]!;
  const cached = (key: Tensor2D) => keysOfCache(key, weights, { shape, cache, batch: 1, rotation });
  const project = projectWith(weights);
  const rows = tidy(() => {
    const { query, key, value } = headRows(before, weights, shape, project);
    return { query, key, value, stored: reader.keys === 'projected' ? key.clone() : cached(key) };
  });
  try {
    const [keys, values] = [await rows.stored.data(), await rows.value.data()] as [Float32Array, Float32Array];
    const read = reader.read({ layer, tokens: context.tokens, keys, values });
    const finish = (attended: Tensor2D): Tensor2D => {
      const between = streamAfterAttention(before, attentionOutput(attended, weights, shape, project), weights, shape);
      return streamAfterFeedForward(before, between, weights, shape, project);
    };
    if (reader.attend) {
      const queries = tidy(() => mul(queryHeads(rows.query, weights, shape, 1, rotation), shape.attention.scoreScale));
      const attended = reader.attend({
        ...{ layer, tokens: context.tokens, heads: shape.numAttentionHeads, slots: cache.keySlots },
        ...{ keyWidth: cache.keySlotWidth, valueWidth: cache.valueSlotWidth, ...read },
        queries: await download(queries),
      });
      return tidy(() => finish(tensor2d(attended, [context.tokens, shape.numAttentionHeads * cache.valueSlotWidth])));
    }
    return tidy(() => {
      const upload = (side: CacheSide, like: Tensor2D): Tensor2D => {
        if (read[side].length === like.size) return tensor2d(read[side], like.shape);
        throw new KvlrError('tensor-shape', {
          message: `expected ${like.size} ${side} from the cache, got ${read[side].length}`,
          where: { layer },
        });
      };
      const readKeys = upload('keys', rows.stored);
      const keysOf = (stored: Tensor2D): Tensor4D => {
        const slots = slotsOfRows(stored, 1, cache.keySlots);
        return cache.keys === 'rebuilt' ? rebuildKeys(slots, weights, shape, rotation) : slots;
      };
      const queries = queryHeads(rows.query, weights, shape, 1, rotation);
      const exact = cached(rows.key);
      const coded = reader.keys === 'projected' ? cached(readKeys) : readKeys;
      const productsWith = (stored: Tensor2D) => productsOf(queries, keysOf(stored), shape);
      const products: Tensor4D =
        masks.keys === undefined
          ? productsWith(coded)
          : add(productsWith(exact), mul(masks.keys, productsWith(sub(coded, exact))));
      const attention = attentionOf(softCapped(products, shape.attention.softCap), { mask, penalties });
      const valuesOf = (part: Tensor4D, of: Tensor2D) => weightedValues(part, slotsOfRows(of, 1, cache.valueSlots));
      const readValues = upload('values', rows.value);
      const attended: Tensor2D =
        masks.values === undefined
          ? valuesOf(attention, readValues)
          : add(valuesOf(attention, rows.value), valuesOf(mul(attention, masks.values), sub(readValues, rows.value)));
      return finish(attended);
    });
  } finally {
    for (const tensor of Object.values(rows)) tensor.dispose();
  }
}
