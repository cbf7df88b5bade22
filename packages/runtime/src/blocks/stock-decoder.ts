import {
  type DecoderShape,
  globalTensors,
  type LayerActivations,
  type ModelSource,
  type TapName,
  throwIfAborted,
} from '@kvlr/core';
import {
  add,
  gather,
  logSumExp,
  matMul,
  mul,
  oneHot,
  sub,
  sum,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  tensor1d,
  tidy,
} from '@tensorflow/tfjs-core';
import { decoderLayer } from './decoder-layer.ts';
import { normByRole, scaled, softCapped } from './operations.ts';
import { createSequenceContext, type SequenceContext } from './sequence-context.ts';
import { disposeTensors, type LayerTensors, type TensorsByRole, uploadLayer, uploadTensors } from './weights.ts';
import { ids, PassesByLength } from './window-pass.ts';

/** Teacher-forced windows: what evaluation and calibration ask of a decoder. Calls come checked, on the active backend. */
export interface WindowRunner {
  /** [tokens, vocabSize] */
  logits(tokenIds: Int32Array): Promise<Float32Array>;
  forEachLayer(
    tokenIds: Int32Array,
    taps: readonly TapName[],
    visit: (activations: LayerActivations) => Promise<void>,
  ): Promise<void>;
}

/** What a decoder has once. */
export interface DecoderGlobals {
  readonly shape: DecoderShape;
  /** `globalTensors` */
  readonly globals: TensorsByRole;
}

/** All weights of a decoder on the device. */
export interface DecoderTensors extends DecoderGlobals {
  readonly layers: readonly LayerTensors[];
}

/** Uploads a whole model to the active backend; on an error or abort nothing stays there. Throws 'tensor-missing', 'tensor-shape'. */
export async function uploadDecoder(source: ModelSource, signal?: AbortSignal): Promise<DecoderTensors> {
  const { shape } = source;
  const globals = await uploadTensors(source, globalTensors(shape));
  const layers: LayerTensors[] = [];
  try {
    for (let layer = 0; layer < shape.numLayers; layer++) {
      throwIfAborted(signal);
      layers.push(await uploadLayer(source, layer));
    }
  } catch (error) {
    disposeDecoder({ shape, globals, layers });
    throw error;
  }
  return { shape, globals, layers };
}

/** Frees a model's tensors. */
export function disposeDecoder({ globals, layers }: DecoderTensors): void {
  for (const tensors of [globals, ...layers]) disposeTensors(tensors);
}

/** The stream before the first layer, [tokens, hiddenSize], of ids at these positions. Call inside tf.tidy. */
export function embed(ids: Tensor1D, positions: readonly number[], model: DecoderGlobals): Tensor2D {
  return streamOfRows(gather(model.globals.embedding as Tensor2D, ids), positions, model);
}

/** The same of rows of the embedding table. Beyond the learned positions the last of them stands for all. */
export function streamOfRows(
  rows: Tensor2D,
  positions: readonly number[],
  { shape, globals }: DecoderGlobals,
): Tensor2D {
  const { scale, learnedPositions } = shape.embedding;
  const projected: Tensor2D = globals.embeddingProjection ? matMul(rows, globals.embeddingProjection) : rows;
  let stream = scaled(projected, scale);
  if (learnedPositions) {
    const { count, offset } = learnedPositions;
    const places = positions.map((position) => Math.min(position + offset, count - 1));
    stream = add(stream, gather(globals.positionEmbedding!, tensor1d(places, 'int32')));
  }
  return normByRole(stream, shape, globals, 'embeddingNorm');
}

/**
 * Logits [rows, vocabSize] of the stream after the last layer, differentiable in the stream. `multiply` stands in for the product with
 * the head's table. Call inside tf.tidy.
 */
export function readOut(
  stream: Tensor2D,
  model: DecoderGlobals,
  multiply = (x: Tensor2D): Tensor2D =>
    matMul(x, (model.globals.languageModelHead ?? model.globals.embedding)!, false, true),
): Tensor2D {
  return logitsOfProducts(multiply(inputOfTable(stream, model)), model);
}

/** What is multiplied with the head's table, [rows, width of the table]. Call inside tf.tidy. */
export function inputOfTable(stream: Tensor2D, { shape, globals }: DecoderGlobals): Tensor2D {
  const normed = normByRole(stream, shape, globals, 'finalNorm');
  return globals.headProjection ? matMul(normed, globals.headProjection) : normed;
}

/** Logits from the products with the head's table. Call inside tf.tidy. */
export function logitsOfProducts(products: Tensor2D, { shape, globals }: DecoderGlobals): Tensor2D {
  const { scale, softCap } = shape.head;
  const bias = globals.languageModelHeadBias;
  return softCapped(scaled(bias ? add(products, bias) : products, scale), softCap);
}

/** Whole windows through the differentiable blocks on tfjs's own operations, in float32: every decoder that a shape can describe. */
export class StockDecoder implements WindowRunner {
  readonly tensors: DecoderTensors;
  private context: SequenceContext | undefined;
  private readonly logitPasses = new PassesByLength((tokens) => ({
    inputs: [ids(tokens)],
    body: (tokenIds) => [this.readWindow(tokenIds as Tensor1D)],
    recordFrom: 1,
  }));
  private readonly lossPasses = new PassesByLength((tokens) => ({
    inputs: [ids(tokens), ids(tokens)],
    body: (tokenIds, targets) => {
      const logits = this.readWindow(tokenIds as Tensor1D);
      const chosen = mul(logits, oneHot(targets as Tensor1D, this.tensors.shape.vocabSize));
      return [sub(logSumExp(logits, 1), sum(chosen, 1))];
    },
    recordFrom: 1,
  }));

  constructor(tensors: DecoderTensors) {
    this.tensors = tensors;
  }

  async logits(tokenIds: Int32Array): Promise<Float32Array> {
    this.contextOf(tokenIds.length);
    const [logits] = await this.logitPasses.of(tokenIds.length).run(tokenIds);
    return logits!;
  }

  /** -log softmax(logits)[target] of each position, [tokens]. */
  async losses(tokenIds: Int32Array, targets: Int32Array): Promise<Float32Array> {
    this.contextOf(tokenIds.length);
    const [losses] = await this.lossPasses.of(tokenIds.length).run(tokenIds, targets);
    return losses!;
  }

  async forEachLayer(
    tokenIds: Int32Array,
    taps: readonly TapName[],
    visit: (activations: LayerActivations) => Promise<void>,
  ): Promise<void> {
    const { shape, layers } = this.tensors;
    const context = createSequenceContext({ shape, batch: 1, tokens: tokenIds.length });
    let stream = tidy(() => this.embed(tokenIds));
    try {
      for (const [layer, weights] of layers.entries()) {
        const before = stream;
        const [after, ...tapped] = tidy(() => {
          const { after, stages } = decoderLayer(before, weights, { shape, layer, context });
          const wanted = taps.map((tap) => (tap === 'stream' ? before.clone() : stages[tap].clone()));
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
    this.logitPasses.dispose();
    this.lossPasses.dispose();
    this.context?.dispose();
    this.context = undefined;
    disposeDecoder(this.tensors);
  }

  private readWindow(tokenIds: Tensor1D): Tensor2D {
    const { shape, layers } = this.tensors;
    const context = this.contextOf(tokenIds.size);
    let stream = embed(
      tokenIds,
      Array.from({ length: tokenIds.size }, (_, place) => place),
      this.tensors,
    );
    layers.forEach((weights, layer) => {
      const before = stream;
      stream = tidy(() => decoderLayer(before, weights, { shape, layer, context }).after);
      before.dispose();
    });
    return readOut(stream, this.tensors);
  }

  /** Masks and rotations of windows of this length: kept, since most windows are as long as those before. */
  private contextOf(tokens: number): SequenceContext {
    if (this.context?.tokens === tokens) return this.context;
    // Recordings read it.
    this.logitPasses.dispose();
    this.lossPasses.dispose();
    this.context?.dispose();
    this.context = createSequenceContext({ shape: this.tensors.shape, batch: 1, tokens });
    return this.context;
  }

  private embed(tokenIds: Int32Array): Tensor2D {
    return embed(tensor1d(tokenIds, 'int32'), Array.from(tokenIds.keys()), this.tensors);
  }
}

/** The values of a float32 tensor, which is disposed. */
export async function download(tensor: Tensor): Promise<Float32Array> {
  const values = (await tensor.data()) as Float32Array;
  tensor.dispose();
  return values;
}

/** What the taps of a layer show, read from the device together; frees the tensors. */
export async function downloadTaps(
  layer: number,
  tokens: number,
  taps: readonly TapName[],
  tapped: readonly (Tensor | undefined)[],
): Promise<LayerActivations> {
  const read = await Promise.all(taps.map((_, position) => download(tapped[position]!)));
  return { layer, tokens, ...Object.fromEntries(taps.map((tap, position) => [tap, read[position]!])) };
}
