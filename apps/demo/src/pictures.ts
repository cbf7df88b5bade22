import { subspaceAffinity } from '@kvlr/compression';
import type { DecoderShape, LayerStatistics } from '@kvlr/core';
import { eigHermitian } from '@kvlr/linalg';
import type { CompressionReport, LayerSpectra } from '@kvlr/report';
import { complexKeyMoments, ropeFrequencies } from '@kvlr/rope';

/** What a run knows of one layer, small enough to ship. Shares are 0 to 1. */
export interface LayerPictures {
  /** Energy of the strongest 1/16, 2/16 ... of all directions, as a share of the whole: keys before and after RoPE, values. */
  energy: { keysBeforeRope: number[]; keysAfterRope: number[]; values: number[] };
  /** [K][K]: 1 where the keys and values of two heads span the same subspaces, 0 where they have nothing in common. */
  affinity: number[][];
  /** KV heads that share one. */
  groups: number[][];
  /** Of each RoPE frequency's key energy, what no head of the result can hold. Empty where keys are not rotated in halves. */
  lostByFrequency: number[];
  /** Held-out error of the block: of the closed form, and of what was kept. Absent where nothing followed the closed form. */
  error?: { closedForm: number; kept: number };
}

export interface Pictures {
  layers: LayerPictures[];
  /** Tokens in which each RoPE frequency goes round once, fastest first. */
  wavelengths: number[];
}

interface PictureRequest {
  shape: DecoderShape;
  /** Second moments of a layer, read when its turn comes. */
  statistics: { layer(layer: number): Promise<LayerStatistics> };
  groups: readonly number[][][];
  /** Width of the result's heads in widths of the original's. */
  headWidth: number;
  report: Pick<CompressionReport, 'spectra' | 'reconstruction'>;
}

/** The figures behind the pictures of a run. */
export async function describePictures(request: PictureRequest): Promise<Pictures> {
  const { shape, statistics, groups, headWidth, report } = request;
  const spectraOf = new Map(report.spectra?.map((spectra) => [spectra.layer, spectra]));
  const errorOf = new Map(report.reconstruction?.map((layer) => [layer.layer, layer]));
  const layers: LayerPictures[] = [];
  for (let index = 0; index < shape.numLayers; index++) {
    const layer = await statistics.layer(index);
    const error = errorOf.get(index);
    layers.push({
      energy: cumulativeEnergy(spectraOf.get(index)!),
      affinity: affinities(shape, layer),
      groups: groups[index]!,
      lostByFrequency: rotatesInHalves(shape, index) ? lostByFrequency(shape, layer, groups[index]!, headWidth) : [],
      ...(error && { error: { closedForm: rounded(error.heldOutBefore), kept: rounded(error.heldOutAfter) } }),
    });
  }
  return { layers, wavelengths: wavelengthsOf(shape) };
}

const steps = 16;

function cumulativeEnergy({ keysBeforeRope, keysAfterRope, values }: LayerSpectra): LayerPictures['energy'] {
  const shares = (eigenvalues: ArrayLike<number>): number[] => {
    const energies = Array.from(eigenvalues, (value) => Math.max(0, value));
    const total = energies.reduce((sum, energy) => sum + energy, 0);
    return Array.from({ length: steps }, (_, step) => {
      const count = Math.round(((step + 1) / steps) * energies.length);
      return rounded(energies.slice(0, count).reduce((sum, energy) => sum + energy, 0) / total);
    });
  };
  return { keysBeforeRope: shares(keysBeforeRope), keysAfterRope: shares(keysAfterRope), values: shares(values) };
}

/** One less half of the distance that the grouping by subspaces looks at, which is 0 to 2. */
function affinities(shape: DecoderShape, layer: LayerStatistics): number[][] {
  const heads = Array.from({ length: shape.numKeyValueHeads }, (_, head) => head);
  const distance = subspaceAffinity({ shape, layer: layer.layer, statistics: layer });
  return heads.map((row) => heads.map((column) => (row === column ? 1 : rounded(1 - distance([row, column]) / 2))));
}

/** Energy of the keys of a group beyond the strongest `headWidth` directions of each frequency, as a share of the frequency's. */
function lostByFrequency(
  { numKeyValueHeads, headDim }: DecoderShape,
  { keySecondMoment }: LayerStatistics,
  groups: readonly number[][],
  headWidth: number,
): number[] {
  return complexKeyMoments(keySecondMoment, numKeyValueHeads, headDim).map(({ real, imag }) => {
    let total = 0;
    let kept = 0;
    for (const group of groups) {
      const places = group.flatMap((row) => group.map((column) => row * numKeyValueHeads + column));
      const part = (numbers: Float64Array) => Float64Array.from(places, (place) => numbers[place]!);
      const moment = { rows: group.length, cols: group.length, real: part(real), imag: part(imag) };
      const energies = [...eigHermitian(moment).values].map((value) => Math.max(0, value)).sort((a, b) => b - a);
      total += energies.reduce((sum, energy) => sum + energy, 0);
      kept += energies.slice(0, headWidth).reduce((sum, energy) => sum + energy, 0);
    }
    return total > 0 ? rounded(Math.max(0, 1 - kept / total)) : 0;
  });
}

function rotatesInHalves({ layers, headDim }: DecoderShape, layer: number): boolean {
  const positions = layers[layer]!.positions;
  return positions.kind === 'rope' && positions.rotaryDim === headDim && positions.pairs === 'half-split';
}

function wavelengthsOf(shape: DecoderShape): number[] {
  const positions = shape.layers[0]!.positions;
  if (positions.kind !== 'rope') return [];
  const { frequencies } = ropeFrequencies(positions.rope, positions.rotaryDim);
  return Array.from(frequencies, (frequency) => Math.round((2 * Math.PI) / frequency));
}

function rounded(value: number): number {
  return Number(value.toFixed(4));
}
