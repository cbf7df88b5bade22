import { BLOCK_TOKENS } from '@kvlr/core';
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { gainOf } from '../../cache/blocks/block-codec.ts';
import { type BlockBits, valueLevels } from '../../cache/blocks/block-format.ts';
import { functionsOnHeap, type HeapFunctions } from '../../wasm-heap.ts';
import type { BlockTileMaker } from './block-attention-host.ts';
import { addFunction, prepareFunction, scoreFunction } from './block-functions-wasm.ts';
import { type BlockTile, type BlockTileSettings, PlainBlockTile } from './block-tile.ts';

type BlockFunctions = HeapFunctions<'prepare' | `score_${BlockBits}` | `add_${BlockBits}`>;

const bitsOfBlocks: readonly BlockBits[] = [4, 3, 2];
const functionsOf = functionsOnHeap<keyof BlockFunctions>(() => [
  prepareFunction(),
  ...bitsOfBlocks.flatMap((bits) => [scoreFunction(`score_${bits}`, bits), addFunction(`add_${bits}`, bits)]),
]);

/** Tiles that read blocks with vectors on the heap of the wasm backend; plain ones where the engine has none, or heads no whole vectors. */
export function vectorBlockTiles(backend: BackendWasm): BlockTileMaker {
  const functions = functionsOf(backend);
  return (settings, scratch) =>
    functions === undefined || settings.format.width % 8 !== 0
      ? new PlainBlockTile(settings)
      : new VectorBlockTile(functions, settings, scratch);
}

/** Greatest whole number that a weight becomes. */
const mostWeight = 2 ** 15 - 1;

/** Reads codes where they lie: nothing of a block is unpacked to memory. */
class VectorBlockTile implements BlockTile {
  readonly width: number;
  private readonly functions: BlockFunctions;
  private readonly settings: BlockTileSettings;
  private readonly unit: number;
  /** Of the tile's scratch: the coefficients of a query, its weights as whole numbers, and their factor. */
  private readonly coefficients: Float32Array;
  private readonly weights: Int16Array;
  private readonly factor: Float32Array;
  private readonly products = new Float64Array(BLOCK_TOKENS);
  private at = 0;
  private block = 0;

  constructor(functions: BlockFunctions, settings: BlockTileSettings, scratch: Float32Array) {
    const { width, bits } = settings.format;
    this.functions = functions;
    this.settings = settings;
    this.width = width;
    this.unit = valueLevels(bits).unit;
    this.coefficients = scratch.subarray(0, 3 * width);
    this.weights = new Int16Array(scratch.buffer, scratch.byteOffset + 12 * width, BLOCK_TOKENS);
    this.factor = scratch.subarray(3 * width + BLOCK_TOKENS / 2, 3 * width + BLOCK_TOKENS / 2 + 1);
  }

  load(at: number, block: number): void {
    this.at = at;
    this.block = block;
  }

  score(queries: Float32Array, from: number, scores: Float32Array): void {
    const { functions, settings, width, coefficients } = this;
    const { format, words, starts, turns } = settings;
    const { bits, keyCodes } = format;
    const slot = words.byteOffset + 4 * this.at;
    const codes = slot + 4 * keyCodes;
    const start = starts.byteOffset + 4 * width * this.block;
    const query = queries.byteOffset + 4 * from;
    functions.prepare(query, start, slot, coefficients.byteOffset, width / 8, 2 * width);
    const [into, behind] = [scores.byteOffset, codes + 2 * width * bits];
    functions[`score_${bits}`](coefficients.byteOffset, turns.byteOffset, codes, behind, into, width / 8);
  }

  add(weights: Float32Array, _first: number, _end: number, result: Float32Array, at: number): void {
    const { functions, settings, width, products } = this;
    const { format, words } = settings;
    let most = 0;
    for (let n = 0; n < BLOCK_TOKENS; n++) {
      const product = weights[n]! * gainOf(words, this.at, format, n);
      products[n] = product;
      if (product > most) most = product;
    }
    if (most === 0) return;
    const inverse = mostWeight / most;
    for (let n = 0; n < BLOCK_TOKENS; n++) this.weights[n] = products[n]! * inverse + 0.5;
    this.factor[0] = (most / mostWeight) * this.unit;
    const codes = words.byteOffset + 4 * (this.at + format.valueCodes);
    const into = result.byteOffset + 4 * at;
    functions[`add_${format.bits}`](this.weights.byteOffset, codes, into, width / 4, this.factor.byteOffset);
  }
}
