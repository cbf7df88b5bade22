import {
  describeEngines,
  findArchitecture,
  type HuggingFaceCheckpoint,
  type LoadsInto,
  loadsInto,
  stockShape,
} from '@kvlr/checkpoint';
import { approximation, type CompressionMethod, leavesStock } from '@kvlr/compression';
import { type Checkpoint, type DecoderShape, KvlrError, stockLayout } from '@kvlr/core';
import type { ResultHeads } from './heads.ts';

/** What a compression comes to, known before it begins. */
export interface Outcome {
  /** What loads the result. */
  loadsInto: LoadsInto;
  /** Why heads that are merged cannot give what they gave, however alike they are; absent where merges are exact. */
  approximation?: string;
}

export interface OutcomeRequest extends ResultHeads {
  model: Pick<Checkpoint, 'shape' | 'config'>;
  method: CompressionMethod;
  /** Whether every layer keeps the same. */
  uniform: boolean;
  /** Whether groups are of neighbours, so that query heads keep their order. */
  contiguous: boolean;
}

/** What a compression will come to. */
export function foreseeOutcome(request: OutcomeRequest): Outcome {
  const { model, method, keyValueHeads } = request;
  const { shape } = model;
  const reason = keyValueHeads === shape.numKeyValueHeads ? undefined : approximation(method, shape);
  return { loadsInto: foreseeEngines(request), ...(reason !== undefined && { approximation: reason }) };
}

function foreseeEngines(request: OutcomeRequest): LoadsInto {
  const { model, method, uniform } = request;
  const { shape } = model;
  // Ranks of keys and values apart are slots of kvlr's own, whatever the positions.
  if (!leavesStock(method, shape) || (!method.portable && !uniform)) {
    const reason = `a cache of kvlr's own: ${method.title}`;
    return { nativeReason: reason, ggufReason: reason, onnxReason: reason };
  }
  const architecture = (model as Partial<HuggingFaceCheckpoint>).architecture ?? findArchitecture(shape.architecture);
  return loadsInto(foreseeShape(request), architecture, model.config);
}

/** The shape of the result, or one that loads where it does: counts of heads and an order of heads stand for others like them. */
function foreseeShape({ model, keyValueHeads, headWidth, uniform, contiguous }: OutcomeRequest): DecoderShape {
  const { shape } = model;
  const stock = stockShape(shape, keyValueHeads, headWidth);
  const whole = stockLayout(shape.numKeyValueHeads, shape.headDim);
  const layers = stock.layers.map((layer, index) => {
    const { positions } = layer;
    const isReordered = positions.kind === 'alibi' && !contiguous && keyValueHeads < shape.numKeyValueHeads;
    return {
      ...layer,
      ...(!uniform && index === 0 && { cache: whole }),
      ...(isReordered && { positions: { ...positions, slopes: positions.slopes.toReversed() } }),
    };
  });
  return { ...stock, layers };
}

/** What is worth saying of an outcome beside its figures: that no other engine loads it, and that merges are approximate. */
export function outcomeNotes({ loadsInto: engines, approximation: reason }: Outcome): string[] {
  return [
    ...(engines.nativeReason === undefined ? [] : [`Loads into ${describeEngines(engines)}.`]),
    ...(reason === undefined ? [] : [`Keys are merged approximately: ${reason}.`]),
  ];
}

/** Whether a method can compress a model: keys cannot be rebuilt from latents where projections are normed or clipped. */
export function canCompress(method: CompressionMethod, shape: DecoderShape): boolean {
  return method.freeRanks?.stage !== 'projected' || approximation({ portable: true }, shape) === undefined;
}

/** Throws 'unsupported-feature' where a method cannot compress a model. */
export function requireMethod(
  method: CompressionMethod,
  { shape, location }: Pick<Checkpoint, 'shape' | 'location'>,
): void {
  if (canCompress(method, shape)) return;
  const received = approximation({ portable: true }, shape);
  throw new KvlrError('unsupported-feature', {
    message: `expected keys that are projected and no more for ${method.title}, got ${received}`,
    hint: 'Take a method whose keys are stock or latent.',
    where: { file: location },
    data: { method: method.title, received },
  });
}
