import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import type { BlockBits } from '../../cache/blocks/block-format.ts';
import { functionsOnHeap, type HeapFunctions } from '../../wasm-heap.ts';
import type { BlockTileMaker } from './block-attention-host.ts';
import { addFunction, prepareFunction, scoreFunction, unitOfWeights, weighFunction } from './block-functions-wasm.ts';
import { type BlockTile, type BlockTileSettings, PlainBlockTile } from './block-tile.ts';

type BlockFunctions = HeapFunctions<'prepare' | 'weigh' | `score_${BlockBits}` | `add_${BlockBits}`>;

const bitsOfBlocks: readonly BlockBits[] = [4, 3, 2];
const functionsOf = functionsOnHeap<keyof BlockFunctions>(() => [
  prepareFunction(),
  weighFunction(),
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

/** Reads codes where they lie: nothing of a block is unpacked to memory. */
class VectorBlockTile implements BlockTile {
  readonly width: number;
  private readonly functions: BlockFunctions;
  private readonly settings: BlockTileSettings;
  /** Addresses in the tile's scratch: the coefficients of a query, its weights as whole numbers, their factor and their unit. */
  private readonly coefficients: number;
  private readonly weights: number;
  private readonly factor: number;
  private readonly unit: number;
  private at = 0;
  private block = 0;

  constructor(functions: BlockFunctions, settings: BlockTileSettings, scratch: Float32Array) {
    const { width, bits } = settings.format;
    this.functions = functions;
    this.settings = settings;
    this.width = width;
    this.coefficients = scratch.byteOffset;
    this.weights = this.coefficients + 12 * width;
    this.factor = this.weights + 64;
    this.unit = this.factor + 4;
    scratch.set(unitOfWeights(bits), 3 * width + 17);
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
    functions.prepare(query, start, slot, coefficients, width / 8, 2 * width);
    const [into, behind] = [scores.byteOffset, codes + 2 * width * bits];
    functions[`score_${bits}`](coefficients, turns.byteOffset, codes, behind, into, width / 8);
  }

  add(weights: Float32Array, _first: number, _end: number, result: Float32Array, at: number): void {
    const { functions, settings, width } = this;
    const { format, words } = settings;
    const slot = words.byteOffset + 4 * this.at;
    functions.weigh(weights.byteOffset, slot + 4 * format.gains, this.weights, this.factor, this.unit);
    const codes = slot + 4 * format.valueCodes;
    functions[`add_${format.bits}`](this.weights, codes, result.byteOffset + 4 * at, width / 4, this.factor);
  }
}
