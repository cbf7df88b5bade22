import {
  type ActivationSource,
  type DecoderShape,
  KvlrError,
  type LayerActivations,
  type LogitSource,
  type ModelSource,
  type RunControl,
  type TapName,
  throwIfAborted,
} from '@kvlr/core';
import type { OnnxEmbedding, OnnxHead, OnnxLayer } from './decoder-parts.ts';
import { OnnxDecoder } from './onnx-decoder.ts';
import type { OnnxSettings } from './onnx-settings.ts';
import { type BranchedWindow, placeBranches } from './placement.ts';

/** A decoder whose windows run in native code, in float32. Its methods are to be called one after another. */
export interface OnnxModel extends ActivationSource, LogitSource {
  /**
   * Logits of texts with one beginning, which is run once: of the rows that are asked for, counted over the beginning and then branch
   * after branch, [rows, vocabSize]. Each token sees the beginning and its own branch.
   */
  branchLogits(window: BranchedWindow, rows: readonly number[]): Promise<Float32Array>;
  /** Frees weights and sessions. The model cannot be used afterwards. */
  dispose(): void;
}

/**
 * Loads a whole model, of any family and cache layout, for ONNX Runtime on the CPU: 4 bytes a parameter.
 *
 * @throws KvlrError 'invalid-argument', 'backend-unavailable' without onnxruntime-node, 'tensor-missing', 'tensor-shape', 'non-finite', 'aborted'.
 */
export async function loadOnnxModel(
  source: ModelSource,
  given: OnnxSettings & Pick<RunControl, 'signal'> = {},
): Promise<OnnxModel> {
  const { signal, ...settings } = Object(given) as typeof given;
  const decoder = await OnnxDecoder.open(source, { residentTableBytes: Number.POSITIVE_INFINITY, ...settings });
  const embedding = await decoder.loadEmbedding();
  const layers: OnnxLayer[] = [];
  for (let layer = 0; layer < source.shape.numLayers; layer++) {
    throwIfAborted(signal);
    layers.push(await decoder.loadLayer(layer));
  }
  return new WholeModel(source.shape, { decoder, embedding, layers, head: await decoder.loadHead() });
}

interface LoadedParts {
  decoder: OnnxDecoder;
  embedding: OnnxEmbedding;
  layers: readonly OnnxLayer[];
  head: OnnxHead;
}

class WholeModel implements OnnxModel {
  readonly vocabSize: number;

  constructor(
    readonly shape: DecoderShape,
    private parts: LoadedParts | undefined,
  ) {
    this.vocabSize = shape.vocabSize;
  }

  async logits(tokenIds: Int32Array): Promise<Float32Array> {
    const { embedding, layers, head } = this.open(tokenIds);
    let stream = await embedding.stream(tokenIds);
    for (const layer of layers) stream = (await layer.pass(stream, [])).after;
    return head.logits(stream);
  }

  async branchLogits(window: BranchedWindow, rows: readonly number[]): Promise<Float32Array> {
    const { tokenIds, placement } = placeBranches(window);
    const { embedding, layers, head } = this.open(tokenIds, Math.max(...placement.positions) + 1);
    let stream = await embedding.stream(tokenIds, placement);
    for (const layer of layers) stream = (await layer.pass(stream, [], placement)).after;
    const { hiddenSize } = this.shape;
    const wanted = new Float32Array(rows.length * hiddenSize);
    for (const [place, row] of rows.entries()) {
      wanted.set(stream.subarray(row * hiddenSize, (row + 1) * hiddenSize), place * hiddenSize);
    }
    return head.logits(wanted);
  }

  async forEachLayer(
    tokenIds: Int32Array,
    taps: readonly TapName[],
    visit: (activations: LayerActivations) => void | Promise<void>,
  ): Promise<void> {
    const { embedding, layers } = this.open(tokenIds);
    let stream = await embedding.stream(tokenIds);
    for (const layer of layers) {
      const { after, activations } = await layer.pass(stream, taps);
      await visit(activations);
      stream = after;
    }
  }

  dispose(): void {
    this.parts?.decoder.close();
    this.parts = undefined;
  }

  /**
   * Throws 'invalid-argument' for a disposed model, and for what is no window of this one.
   *
   * @param positions Positions that the tokens take.
   */
  private open(tokenIds: Int32Array, positions = Object(tokenIds).length as number): LoadedParts {
    if (this.parts === undefined) {
      throw new KvlrError('invalid-argument', { message: 'expected a loaded model, got a disposed one' });
    }
    const { maxPositionEmbeddings } = this.shape;
    // Nothing else is looked into: a list may claim any length.
    const ids = tokenIds instanceof Int32Array ? tokenIds : new Int32Array();
    const tokens = ids.length;
    const foreign = ids.find((id) => !(id >= 0 && id < this.vocabSize));
    if (tokens >= 1 && positions <= maxPositionEmbeddings && foreign === undefined) return this.parts;
    const received = foreign === undefined ? `${tokens} of them at ${positions} positions` : `id ${foreign}`;
    throw new KvlrError('invalid-argument', {
      message: `expected 1 to ${maxPositionEmbeddings} token ids from 0 to ${this.vocabSize - 1}, got ${received}`,
      where: { argument: 'tokenIds' },
      data: { maxPositionEmbeddings, vocabSize: this.vocabSize, tokens, tokenId: foreign },
    });
  }
}
