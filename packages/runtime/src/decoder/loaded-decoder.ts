import { KvlrError, type LayerActivations, type ModelShape, type ModelSource, type TapName } from '@kvlr/core';
import {
  add,
  gather,
  getBackend,
  matMul,
  setBackend,
  slice,
  type Tensor,
  type Tensor2D,
  tensor1d,
  tidy,
} from '@tensorflow/tfjs-core';
import type { BackendChoice } from '../backends/backend-choice.ts';
import { type AttentionStages, attentionBlock } from '../blocks/attention-block.ts';
import { feedForwardBlock } from '../blocks/feed-forward-block.ts';
import { rmsNorm } from '../blocks/rms-norm.ts';
import { createSequenceContext, type SequenceContext } from '../blocks/sequence-context.ts';
import { KeyValueCache } from '../cache/key-value-cache.ts';
import { generateTokens } from '../generation/generate-tokens.ts';
import type { GeneratedToken, GenerationSettings } from '../generation/generation-settings.ts';
import { yieldToHost } from '../generation/yield-to-host.ts';
import type { DecoderModel } from './decoder-model.ts';
import { type DecoderTensors, disposeDecoder } from './decoder-tensors.ts';

/** Tokens of a prompt that are run at once: the scores of one layer take this times the cache's capacity per head. */
const PREFILL_TOKENS = 256;

/** A decoder whose weights lie on a tfjs backend. Made by `loadModel`. */
export class LoadedDecoder implements DecoderModel {
  readonly shape: ModelShape;
  readonly vocabSize: number;
  readonly id: string;
  readonly backend: BackendChoice;
  private tensors: DecoderTensors | undefined;

  constructor(source: ModelSource, backend: BackendChoice, tensors: DecoderTensors) {
    this.shape = source.shape;
    this.vocabSize = source.shape.vocabSize;
    this.id = source.id;
    this.backend = backend;
    this.tensors = tensors;
  }

  async logits(tokenIds: Int32Array): Promise<Float32Array> {
    const tensors = await this.begin('logits', tokenIds);
    const result = tidy(() => {
      const context = createSequenceContext({ shape: this.shape, batch: 1, tokens: tokenIds.length });
      let stream = embed(tensors, tokenIds);
      for (let layer = 0; layer < this.shape.numLayers; layer++) {
        stream = tidy(() => this.runLayer(tensors, layer, stream, context).after);
      }
      return this.readOut(tensors, stream);
    });
    return download(result);
  }

  async forEachLayer(
    tokenIds: Int32Array,
    taps: readonly TapName[],
    visit: (activations: LayerActivations) => void | Promise<void>,
  ): Promise<void> {
    const tensors = await this.begin('forEachLayer', tokenIds);
    const context = createSequenceContext({ shape: this.shape, batch: 1, tokens: tokenIds.length });
    let stream = tidy(() => embed(tensors, tokenIds));
    try {
      for (let layer = 0; layer < this.shape.numLayers; layer++) {
        const before = stream;
        const [after, ...tapped] = tidy(() => {
          const { after, stages } = this.runLayer(tensors, layer, before, context);
          const wanted = taps.map((tap) => (tap === 'stream' ? before.clone() : stages[tap]));
          return [after, ...wanted];
        });
        before.dispose();
        stream = after!;
        const activations: LayerActivations = { layer, tokens: tokenIds.length };
        for (const [position, tap] of taps.entries()) activations[tap] = await download(tapped[position]!);
        await visit(activations);
        await this.activate();
      }
    } finally {
      stream.dispose();
      context.dispose();
    }
  }

  async createCache(capacity: number): Promise<KeyValueCache> {
    await this.activate();
    return new KeyValueCache(this.shape, capacity);
  }

  async extend(cache: KeyValueCache, tokenIds: ArrayLike<number>): Promise<Float32Array> {
    const tensors = await this.begin('extend', tokenIds);
    cache.requireRoom(tokenIds.length);
    const ids = Array.from(tokenIds);
    while (ids.length > PREFILL_TOKENS) {
      const part = ids.splice(0, PREFILL_TOKENS);
      tidy(() => {
        this.runBehindCache(tensors, cache, part);
      });
      await this.activate();
    }
    return download(
      tidy(() => {
        const stream = this.runBehindCache(tensors, cache, ids);
        return this.readOut(tensors, slice(stream, [ids.length - 1, 0], [1, this.shape.hiddenSize]));
      }),
    );
  }

  generate(promptIds: ArrayLike<number>, settings: GenerationSettings): AsyncIterableIterator<GeneratedToken> {
    return generateTokens(this, promptIds, settings);
  }

  dispose(): void {
    if (this.tensors !== undefined) disposeDecoder(this.tensors);
    this.tensors = undefined;
  }

  /** Checks the call and activates the model's backend. */
  private async begin(caller: string, tokenIds: ArrayLike<number>): Promise<DecoderTensors> {
    if (this.tensors === undefined) {
      throw new KvlrError('invalid-argument', { message: `${caller}: expected a loaded model, got a disposed one.` });
    }
    const foreign = Array.from(tokenIds).find((id) => !Number.isInteger(id) || id < 0 || id >= this.vocabSize);
    if (tokenIds.length === 0 || foreign !== undefined) {
      throw new KvlrError('invalid-argument', {
        message: `${caller}: expected at least one token id, each from 0 to ${this.vocabSize - 1}, got ${foreign ?? 'none'}.`,
        data: { vocabSize: this.vocabSize, tokenId: foreign },
      });
    }
    await this.activate();
    return this.tensors;
  }

  /** Lets the host breathe, then makes this model's backend the active one, which another model may have changed. */
  private async activate(): Promise<void> {
    await yieldToHost();
    if (getBackend() !== this.backend.backend) await setBackend(this.backend.backend);
  }

  /** The stream after all layers of new tokens, whose keys and values are added to the cache. */
  private runBehindCache(tensors: DecoderTensors, cache: KeyValueCache, tokenIds: readonly number[]): Tensor2D {
    const context = createSequenceContext({
      shape: this.shape,
      batch: 1,
      tokens: tokenIds.length,
      firstPosition: cache.length,
      keyPositions: cache.capacity,
    });
    let stream = embed(tensors, tokenIds);
    for (let layer = 0; layer < this.shape.numLayers; layer++) {
      stream = tidy(() => this.runLayer(tensors, layer, stream, context, cache).after);
    }
    cache.advance(tokenIds.length);
    return stream;
  }

  private runLayer(
    tensors: DecoderTensors,
    layer: number,
    stream: Tensor2D,
    context: SequenceContext,
    cache?: KeyValueCache,
  ): { after: Tensor2D; stages: AttentionStages } {
    const weights = tensors.layers[layer]!;
    const stages = attentionBlock(stream, weights, {
      shape: this.shape,
      layout: this.shape.layers[layer]!,
      context,
      remember: cache && ((entries) => cache.append(layer, entries)),
    });
    const between: Tensor2D = add(stream, stages.blockOutput);
    return { after: add(between, feedForwardBlock(between, weights, this.shape)), stages };
  }

  /** Logits of every row of the stream, [rows, vocabSize]. */
  private readOut(tensors: DecoderTensors, stream: Tensor2D): Tensor2D {
    return matMul(rmsNorm(stream, tensors.finalNorm, this.shape.rmsNormEpsilon), tensors.head, false, true);
  }
}

function embed(tensors: DecoderTensors, tokenIds: ArrayLike<number>): Tensor2D {
  return gather(tensors.embedding, tensor1d(Int32Array.from(tokenIds), 'int32'));
}

/** The values of a tensor, which is disposed. */
async function download(tensor: Tensor): Promise<Float32Array> {
  const values = (await tensor.data()) as Float32Array;
  tensor.dispose();
  return values;
}
