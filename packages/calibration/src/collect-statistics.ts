import {
  type ActivationSource,
  type CalibrationStatistics,
  type DecoderShape,
  KvlrError,
  type LayerActivations,
  type LayerStatistics,
  layerRope,
  type RunControl,
  type StatisticsProvenance,
  type TapName,
  throwIfAborted,
} from '@kvlr/core';
import { SecondMoment } from '@kvlr/linalg';
import { ropeFrequencies, rotate } from '@kvlr/rope';
import { receivedAttention } from './received-attention.ts';

export interface CalibrationRequest extends RunControl {
  /** The model, run by any engine. */
  activations: ActivationSource;
  /** Windows of token ids; each is run on its own, positions from 0. */
  windows: readonly Int32Array[];
  /** Where model and windows come from; tokens and window length are added here. */
  provenance: Pick<StatisticsProvenance, 'modelId' | 'textHash' | 'seed'>;
}

/**
 * Runs windows through a model and gathers each layer's second moments and means (core's `LayerStatistics`): of the block's input,
 * the keys before and after RoPE, the values, the queries of each head before and after RoPE, and the attended values.
 * Activations are float32, sums Float64. Nothing else is kept, so memory does not grow with the text.
 *
 * Throws 'text-empty' (no windows), 'tokenizer-mismatch' (ids outside the vocabulary), 'tensor-shape' and 'non-finite'
 * (activations, naming layer and tap), 'aborted'.
 */
export async function collectStatistics(request: CalibrationRequest): Promise<CalibrationStatistics> {
  const { activations, windows, provenance, onEvent, signal } = request;
  const { shape } = activations;
  requireWindows(windows, shape.vocabSize);
  const layers = shape.layers.map((_, layer) => new LayerMoments(shape, layer));
  for (const [index, window] of windows.entries()) {
    throwIfAborted(signal);
    await activations.forEachLayer(window, momentTaps, (layer) => {
      throwIfAborted(signal);
      layers[layer.layer]!.add(layer);
    });
    onEvent?.({ type: 'progress', stage: 'statistics', completed: index + 1, total: windows.length, unit: 'windows' });
  }
  return {
    provenance: {
      modelId: provenance.modelId,
      textHash: provenance.textHash,
      seed: provenance.seed,
      tokenCount: windows.reduce((sum, window) => sum + window.length, 0),
      windowLength: Math.max(...windows.map((window) => window.length)),
    },
    layers: layers.map((layer) => layer.statistics()),
  };
}

function requireWindows(windows: readonly Int32Array[], vocabSize: number): void {
  if (windows.length === 0 || windows.some((window) => window.length === 0)) {
    throw new KvlrError('text-empty', {
      message: 'expected at least one window, each with tokens, got an empty one or none',
      hint: 'Pass a calibration text.',
    });
  }
  for (const window of windows) {
    const foreign = window.find((id) => id < 0 || id >= vocabSize);
    if (foreign === undefined) continue;
    throw new KvlrError('tokenizer-mismatch', {
      message: `expected token ids below the model's vocabulary of ${vocabSize}, got ${foreign}`,
      hint: 'Encode the text with the tokenizer of this model.',
      data: { vocabSize, tokenId: foreign },
    });
  }
}

/** The taps that `LayerMoments` reads. */
export const momentTaps: readonly TapName[] = ['blockInput', 'query', 'key', 'value', 'attended'];

/** Gathers one layer's second moments from window after window: what `collectStatistics` does for all layers. */
export class LayerMoments {
  private readonly input: SecondMoment;
  private readonly key: SecondMoment;
  private readonly rotatedKey: SecondMoment;
  private readonly value: SecondMoment;
  private readonly receivedValue: SecondMoment;
  private readonly attended: SecondMoment;
  /** One for each query head. */
  private readonly queries: SecondMoment[];
  private readonly rotatedQueries: SecondMoment[];

  constructor(
    private readonly shape: DecoderShape,
    private readonly layer: number,
  ) {
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = shape;
    const { valueSlots, valueSlotWidth } = shape.layers[layer]!.cache;
    const perHead = () => Array.from({ length: numAttentionHeads }, () => new SecondMoment(headDim));
    this.input = new SecondMoment(hiddenSize);
    this.key = new SecondMoment(numKeyValueHeads * headDim);
    this.rotatedKey = new SecondMoment(numKeyValueHeads * headDim);
    this.value = new SecondMoment(valueSlots * valueSlotWidth);
    this.receivedValue = new SecondMoment(valueSlots * valueSlotWidth);
    this.attended = new SecondMoment(numAttentionHeads * valueSlotWidth);
    this.queries = perHead();
    this.rotatedQueries = perHead();
  }

  /**
   * Adds the tokens of one window, whose positions start at 0. Throws 'invalid-argument', 'tensor-shape' and 'non-finite', naming layer
   * and tap.
   */
  add(activations: LayerActivations): void {
    const { tokens } = activations;
    const { numAttentionHeads, numKeyValueHeads } = this.shape;
    const read = (tap: TapName, moment: SecondMoment) => requireTap(activations, tap, moment.width);
    const key = read('key', this.key);
    const query = requireTap(activations, 'query', numAttentionHeads * this.shape.headDim);
    this.input.add(read('blockInput', this.input), tokens);
    this.key.add(key, tokens);
    const keys = this.rotateHeads(key, tokens, numKeyValueHeads);
    const queries = this.rotateHeads(query, tokens, numAttentionHeads);
    this.rotatedKey.add(keys, tokens);
    const value = read('value', this.value);
    this.value.add(value, tokens);
    const received = receivedAttention({ queries, keys, tokens }, this.shape, this.layer);
    this.receivedValue.add(weightedRows(value, received), tokens);
    this.attended.add(read('attended', this.attended), tokens);
    addHeads(this.queries, query, tokens);
    addHeads(this.rotatedQueries, queries, tokens);
  }

  /** Throws 'invalid-argument' before the first window. */
  statistics(): LayerStatistics {
    return {
      layer: this.layer,
      tokenCount: this.input.count,
      inputSecondMoment: this.input.secondMoment(),
      inputMean: this.input.mean(),
      keySecondMoment: this.key.secondMoment(),
      keyMean: this.key.mean(),
      rotatedKeySecondMoment: this.rotatedKey.secondMoment(),
      rotatedKeyMean: this.rotatedKey.mean(),
      valueSecondMoment: this.value.secondMoment(),
      valueMean: this.value.mean(),
      receivedValueSecondMoment: this.receivedValue.secondMoment(),
      querySecondMoment: concatenate(this.queries.map((head) => head.secondMoment())),
      rotatedQuerySecondMoment: concatenate(this.rotatedQueries.map((head) => head.secondMoment())),
      attendedSecondMoment: this.attended.secondMoment(),
      attendedMean: this.attended.mean(),
    };
  }

  /** Heads behind their positions; without rotary ones they stay as they are. */
  private rotateHeads(rows: Float32Array, tokens: number, heads: number): Float32Array {
    const positions = layerRope(this.shape, this.layer);
    if (positions === undefined) return rows;
    const { rope, rotaryDim, pairs } = positions;
    const frequencies = ropeFrequencies(rope, rotaryDim, { sequenceLength: tokens });
    return rotate(rows, { tokens, heads, headDim: this.shape.headDim, pairs, ...frequencies });
  }
}

/** Rows of which the second moment is that of `rows` where each counts as `weights` says. */
function weightedRows(rows: Float32Array, weights: Float32Array): Float32Array {
  const width = rows.length / weights.length;
  return rows.map((value, index) => value * Math.sqrt(weights[Math.floor(index / width)]!));
}

/** Adds to each head's moments its columns of rows that hold the heads side by side. */
function addHeads(heads: readonly SecondMoment[], rows: Float32Array, tokens: number): void {
  const width = heads.length * heads[0]!.width;
  const slice = new Float32Array(tokens * heads[0]!.width);
  heads.forEach((moment, head) => {
    const headDim = moment.width;
    for (let token = 0; token < tokens; token++) {
      const start = token * width + head * headDim;
      slice.set(rows.subarray(start, start + headDim), token * headDim);
    }
    moment.add(slice, tokens);
  });
}

function concatenate(parts: readonly Float64Array[]): Float64Array {
  const whole = new Float64Array(parts.reduce((length, part) => length + part.length, 0));
  let position = 0;
  for (const part of parts) {
    whole.set(part, position);
    position += part.length;
  }
  return whole;
}

/**
 * One tap of a layer, checked: [tokens, width] finite numbers.
 * Throws 'invalid-argument' (absent), 'tensor-shape' and 'non-finite', naming layer and tap.
 */
function requireTap(activations: LayerActivations, tap: TapName, width: number): Float32Array {
  const { layer, tokens } = activations;
  const rows = activations[tap];
  const where = { layer, argument: tap };
  const data = { layer, tap };
  if (!rows) {
    throw new KvlrError('invalid-argument', {
      message: 'expected this tap, got none from the source of activations',
      where,
      data,
    });
  }
  if (rows.length !== tokens * width) {
    throw new KvlrError('tensor-shape', {
      message: `expected ${tokens} x ${width} numbers, got ${rows.length}`,
      where,
      data: { ...data, expected: tokens * width, received: rows.length },
    });
  }
  const place = rows.findIndex((value) => !Number.isFinite(value));
  if (place >= 0) {
    throw new KvlrError('non-finite', {
      message: `expected finite numbers, got ${rows[place]} at token ${Math.floor(place / width)}`,
      where,
      hint: 'Check the weights of this layer for NaN, and try another backend.',
      data,
    });
  }
  return rows;
}
