import type { DecoderShape, LayerActivations, TapName } from '@kvlr/core';
import { add, gather, matMul, type Tensor2D, tensor1d, tidy } from '@tensorflow/tfjs-core';
import { type AttentionStages, attentionBlock } from '../blocks/attention-block.ts';
import { feedForwardBlock } from '../blocks/feed-forward-block.ts';
import { rmsNorm } from '../blocks/rms-norm.ts';
import { createSequenceContext, type SequenceContext } from '../blocks/sequence-context.ts';
import { type DecoderTensors, disposeDecoder } from './decoder-tensors.ts';
import { download } from './download.ts';
import { downloadTaps } from './download-taps.ts';
import type { WindowRunner } from './window-runner.ts';

/** Whole windows through the differentiable stock-op blocks, in float32. */
export class StockDecoder implements WindowRunner {
  readonly tensors: DecoderTensors;
  private readonly shape: DecoderShape;

  constructor(shape: DecoderShape, tensors: DecoderTensors) {
    this.shape = shape;
    this.tensors = tensors;
  }

  async logits(tokenIds: Int32Array): Promise<Float32Array> {
    const { finalNorm, head } = this.tensors;
    const result = tidy(() => {
      const context = createSequenceContext({ shape: this.shape, batch: 1, tokens: tokenIds.length });
      let stream = this.embed(tokenIds);
      for (let layer = 0; layer < this.shape.numLayers; layer++) {
        stream = tidy(() => this.runLayer(layer, stream, context).after);
      }
      return matMul(rmsNorm(stream, finalNorm, this.shape.rmsNormEpsilon), head, false, true);
    });
    return download(result);
  }

  async forEachLayer(
    tokenIds: Int32Array,
    taps: readonly TapName[],
    visit: (activations: LayerActivations) => Promise<void>,
  ): Promise<void> {
    const context = createSequenceContext({ shape: this.shape, batch: 1, tokens: tokenIds.length });
    let stream = tidy(() => this.embed(tokenIds));
    try {
      for (let layer = 0; layer < this.shape.numLayers; layer++) {
        const before = stream;
        const [after, ...tapped] = tidy(() => {
          const { after, stages } = this.runLayer(layer, before, context);
          const wanted = taps.map((tap) => (tap === 'stream' ? before.clone() : stages[tap]));
          return [after, ...wanted];
        });
        before.dispose();
        stream = after!;
        await visit(await downloadTaps(layer, tokenIds.length, taps, tapped));
      }
    } finally {
      stream.dispose();
      context.dispose();
    }
  }

  dispose(): void {
    disposeDecoder(this.tensors);
  }

  private embed(tokenIds: Int32Array): Tensor2D {
    return gather(this.tensors.embedding, tensor1d(tokenIds, 'int32'));
  }

  private runLayer(
    layer: number,
    stream: Tensor2D,
    context: SequenceContext,
  ): { after: Tensor2D; stages: AttentionStages } {
    const weights = this.tensors.layers[layer]!;
    const stages = attentionBlock(stream, weights, { shape: this.shape, layout: this.shape.layers[layer]!, context });
    const between: Tensor2D = add(stream, stages.blockOutput);
    return { after: add(between, feedForwardBlock(between, weights, this.shape)), stages };
  }
}
