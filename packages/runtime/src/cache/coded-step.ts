import type { PolicyLayer } from '@kvlr/cache';
import type { DecoderShape } from '@kvlr/core';
import { type CacheFormat, prefillAttention, rotateAndAppend } from '@kvlr/kernels';
import { concat, type Rank, slice, type Tensor, type Tensor2D, tensor2d, tensor3d, zeros } from '@tensorflow/tfjs-core';
import type { CodedStore } from './coded-store.ts';
import { DeviceFetching, requireWaiting } from './device-fetching.ts';
import type { KeyValueCache } from './key-value-cache.ts';
import { PolicyStore } from './policy-store.ts';
import { tensorOfRows } from './rows-tensor.ts';

const everything = { window: 0, sinks: 0 };

/**
 * The part of a step that attends through the codes of any `CacheCodec`: a layer's cache is decoded whole, on the host, for every step. Under a
 * policy attention is computed there too, but on WebGPU, where the kernels attend to what it lets stay.
 */
export function codedAttention(
  cache: KeyValueCache,
  store: CodedStore | PolicyStore,
  added: readonly number[],
  tokens: number,
): { attend(layer: number, projected: Tensor2D, rotation: Tensor): Tensor2D } {
  const { shape, lengths, onDevice } = cache;
  if (onDevice instanceof DeviceFetching) return { attend: requireWaiting };
  if (onDevice) {
    const step = { length: lengths[0]!, count: added[0]! };
    return { attend: (layer, projected, rotation) => onDevice.attend(layer, projected, rotation, step) };
  }
  return {
    attend(layer, projected, rotation) {
      const format = cache.formats[layer]!.entries;
      const width = projected.shape[1];
      const parts = lengths.map((held, sequence): Tensor2D => {
        const rows: Tensor2D = slice(projected, [sequence * tokens, 0], [tokens, width]);
        const request = { format, rotation, rows, held, count: added[sequence]!, tokens, shape };
        if (request.count === 0) return zeros([tokens, attendedWidth(shape, format)]);
        if (store instanceof PolicyStore) return attendUnderPolicy(request, store.layerOf(sequence, layer));
        const { queries, words } =
          store.cache.codec.keys.keys === 'rotated'
            ? codeRotated(request, store.rowsOf(sequence, layer))
            : codeProjected(request, store.rowsOf(sequence, layer));
        const sequences = tensorOfRows([[held, request.count, 0]]);
        const longest = held + request.count;
        return prefillAttention(
          { queries, cache: words, sequences },
          { format, window: everything, longest },
        ) as Tensor2D;
      });
      return parts.length === 1 ? parts[0]! : concat(parts);
    },
  };
}

interface CodedStepRequest {
  shape: DecoderShape;
  format: CacheFormat;
  rotation: Tensor;
  /** New rows of q, k and v, [tokens, ...], of which `count` are real. */
  rows: Tensor2D;
  held: number;
  count: number;
  tokens: number;
}

type RowsOfLayer = ReturnType<CodedStore['rowsOf']>;

/** Rotated queries, and all entries as the cache gives them back, float32 in words. */
interface Coded {
  queries: Tensor;
  words: Tensor;
}

/** New rows as attention reads them: queries, rotated and scaled, [tokens, variants, heads, width], keys and values of those that are real. */
function rotatedRows(request: CodedStepRequest): { queries: Tensor; keys: Float32Array; values: Float32Array } {
  const { format, rotation, rows, held, count, tokens } = request;
  const { keySlots, keySlotWidth } = format.layout;
  const appended = zeros<Rank.R3>([1, tokens, format.entryWords], 'int32');
  const sequences = tensorOfRows([[held, count, held]]);
  const queries = rotateAndAppend(
    { projected: rows, cache: appended, sequences, rotation },
    attributesOf(request, tokens),
  );
  const words = appended.dataSync() as Int32Array;
  const entries = new Float32Array(words.buffer, words.byteOffset, count * format.entryWords);
  return {
    queries,
    keys: columns(entries, format.entryWords, 0, keySlots * keySlotWidth),
    values: columns(entries, format.entryWords, keySlots * keySlotWidth, format.entryWords),
  };
}

/** A policy's slots hold other tokens each: attention is theirs. */
function attendUnderPolicy(request: CodedStepRequest, layer: PolicyLayer): Tensor2D {
  const { format, shape, count, tokens } = request;
  const { queries, keys, values } = rotatedRows(request);
  const { numAttentionHeads: heads } = shape;
  const width = format.layout.keySlotWidth;
  const byToken = queries.dataSync() as Float32Array;
  const byHead = Float32Array.from({ length: heads * count * width }, (_, i) => {
    const head = Math.floor(i / (count * width));
    const token = Math.floor(i / width) % count;
    return byToken[(token * heads + head) * width + (i % width)]!;
  });
  const attended = new Float32Array(tokens * attendedWidth(shape, format));
  attended.set(layer.attend({ tokens: count, queries: byHead, keys, values }));
  return tensor2d(attended, [tokens, attendedWidth(shape, format)]);
}

/** Keys are coded as attention reads them. */
function codeRotated(request: CodedStepRequest, stored: RowsOfLayer): Coded {
  const { format, held, count } = request;
  const { queries, keys, values } = rotatedRows(request);
  stored.keys.append(keys);
  stored.values.append(values);
  const all = sideBySide([stored.keys.read(), stored.values.read()], held + count);
  return { queries, words: tensor3d(new Int32Array(all.buffer), [1, held + count, format.entryWords], 'int32') };
}

/** Keys are coded as they are before RoPE, and rotated whenever they are read. */
function codeProjected(request: CodedStepRequest, stored: RowsOfLayer): Coded {
  const { shape, format, rotation, rows, held, count, tokens } = request;
  const { keySlots, keySlotWidth } = format.layout;
  const [, width] = rows.shape;
  const queryWidth = shape.numAttentionHeads * shape.headDim;
  const numbers = rows.dataSync() as Float32Array;
  const real = numbers.subarray(0, count * width);
  stored.keys.append(columns(real, width, queryWidth, queryWidth + keySlots * keySlotWidth));
  stored.values.append(columns(real, width, queryWidth + keySlots * keySlotWidth, width));
  const places = held + count;
  const queriesBefore = new Float32Array(places * queryWidth);
  queriesBefore.set(columns(real, width, 0, queryWidth), held * queryWidth);
  const read = sideBySide([queriesBefore, stored.keys.read(), stored.values.read()], places);
  const padded = new Float32Array((held + tokens) * width);
  padded.set(read);
  const words = zeros<Rank.R3>([1, places, format.entryWords], 'int32');
  const projected = tensor2d(padded, [held + tokens, width]);
  const sequences = tensorOfRows([[0, places, 0]]);
  const rotated = rotateAndAppend(
    { projected, cache: words, sequences, rotation },
    attributesOf(request, held + tokens),
  );
  const [, ...sizes] = rotated.shape;
  return { queries: slice(rotated, [held, ...sizes.map(() => 0)], [tokens, ...sizes]), words };
}

function attributesOf({ format, shape }: CodedStepRequest, tokens: number) {
  const { numAttentionHeads, headDim } = shape;
  return { format, window: everything, ring: false, numAttentionHeads, headDim, tokens };
}

const attendedWidth = ({ numAttentionHeads }: DecoderShape, { layout }: CacheFormat): number =>
  numAttentionHeads * layout.valueSlotWidth;

function columns(rows: Float32Array, width: number, from: number, to: number): Float32Array {
  const count = rows.length / width;
  const result = new Float32Array(count * (to - from));
  for (let row = 0; row < count; row++) {
    result.set(rows.subarray(row * width + from, row * width + to), row * (to - from));
  }
  return result;
}

function sideBySide(parts: readonly Float32Array[], rows: number): Float32Array<ArrayBuffer> {
  const widths = parts.map((part) => part.length / rows);
  const width = widths.reduce((sum, each) => sum + each, 0);
  const result = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    let at = row * width;
    parts.forEach((part, i) => {
      result.set(part.subarray(row * widths[i]!, (row + 1) * widths[i]!), at);
      at += widths[i]!;
    });
  }
  return result;
}
