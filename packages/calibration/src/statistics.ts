import {
  type CalibrationStatistics,
  countElements,
  type DenseTensor,
  KvlrError,
  type LayerStatistics,
  type StatisticsProvenance,
  type TensorBundle,
} from '@kvlr/core';

/**
 * Statistics of several runs of one model as if they were one run over all windows: moments and means are averaged, weighted by
 * tokens. The provenance lists the runs; its own text hash, seed and window length are those of the first.
 * Throws 'run-mismatch' when the runs are of different models, 'invalid-argument' for an empty list.
 */
export function mergeStatistics(runs: readonly CalibrationStatistics[]): CalibrationStatistics {
  const first = runs[0];
  if (!first) {
    throw new KvlrError('invalid-argument', { message: 'expected at least one run, got none' });
  }
  for (const run of runs) requireSameModel(first, run);
  if (runs.length === 1) return first;
  const provenance: StatisticsProvenance = {
    ...first.provenance,
    tokenCount: runs.reduce((sum, run) => sum + run.provenance.tokenCount, 0),
    runs: runs.flatMap((run) => run.provenance.runs ?? [run.provenance]),
  };
  return { provenance, layers: first.layers.map((_, index) => mergeLayers(runs.map((run) => run.layers[index]!))) };
}

/**
 * Statistics of one layer over several sets of tokens as if they were one: averages, weighted by tokens. Throws 'run-mismatch' for
 * layers of other sizes.
 */
export function mergeLayers(parts: readonly LayerStatistics[]): LayerStatistics {
  const tokenCount = parts.reduce((sum, part) => sum + part.tokenCount, 0);
  const merged: LayerStatistics = { ...parts[0]!, tokenCount };
  for (const field of momentFields) {
    const mean = new Float64Array(merged[field].length);
    for (const part of parts) {
      const weight = part.tokenCount / tokenCount;
      const values = part[field];
      if (values.length !== mean.length) throw otherSizes(field, mean.length, values.length);
      for (let i = 0; i < mean.length; i++) mean[i]! += weight * values[i]!;
    }
    merged[field] = mean;
  }
  return merged;
}

function otherSizes(field: string, expected: number, received: number): KvlrError {
  return new KvlrError('run-mismatch', {
    message: `expected ${expected} numbers of ${field} in every part, got ${received}`,
    hint: 'Merge only statistics of the same checkpoint.',
    data: { field, expected, received },
  });
}

function requireSameModel(first: CalibrationStatistics, other: CalibrationStatistics): void {
  const describe = ({ provenance, layers }: CalibrationStatistics) =>
    JSON.stringify([provenance.modelId, layers.map((layer) => momentFields.map((field) => layer[field].length))]);
  if (describe(first) === describe(other)) return;
  throw new KvlrError('run-mismatch', {
    message: `expected runs of one model, got ${first.provenance.modelId} and ${other.provenance.modelId}`,
    hint: 'Merge only statistics of the same checkpoint.',
    data: { expected: first.provenance.modelId, received: other.provenance.modelId },
  });
}

/** Names of the arrays of `LayerStatistics`: each is a mean over the layer's tokens. */
export const momentFields = [
  'inputSecondMoment',
  'inputMean',
  'keySecondMoment',
  'keyMean',
  'rotatedKeySecondMoment',
  'rotatedKeyMean',
  'valueSecondMoment',
  'valueMean',
  'receivedValueSecondMoment',
  'querySecondMoment',
  'rotatedQuerySecondMoment',
  'attendedSecondMoment',
  'attendedMean',
] as const satisfies readonly (keyof LayerStatistics)[];

type MomentField = (typeof momentFields)[number];

/** Value of the metadata entry `format` that marks a file of statistics, and of `version`. */
const statisticsFormat = { format: 'kvlr-statistics', version: '2' } as const;

/** Name of one array of one layer's statistics in a bundle. */
function tensorName(layer: number, field: MomentField): string {
  return `layers.${layer}.${field}`;
}

/**
 * Statistics as named Float64 tensors with string metadata, for `encodeTensorBundle` of @kvlr/checkpoint to make one safetensors
 * file of. Metadata: format, version, `provenance` and `layers` (layer and tokenCount of each), both JSON.
 */
export function statisticsToBundle(statistics: CalibrationStatistics): TensorBundle {
  const tensors = new Map<string, DenseTensor>();
  for (const layer of statistics.layers) {
    for (const field of momentFields) {
      const tensor = { shape: tensorShape(layer, field), data: layer[field] };
      tensors.set(tensorName(layer.layer, field), tensor);
    }
  }
  return {
    metadata: {
      ...statisticsFormat,
      provenance: JSON.stringify(statistics.provenance),
      layers: JSON.stringify(statistics.layers.map(({ layer, tokenCount }) => ({ layer, tokenCount }))),
    },
    tensors,
  };
}

/** Means are [width], second moments [width, width], those of queries [heads, headDim, headDim]. */
function tensorShape(layer: LayerStatistics, field: MomentField): number[] {
  const { length } = layer[field];
  if (field.endsWith('Mean')) return [length];
  if (field === 'querySecondMoment' || field === 'rotatedQuerySecondMoment') {
    // Values keep the width headDim under every layout, so the attended values are heads * headDim wide.
    const headDim = length / layer.attendedMean.length;
    return [layer.attendedMean.length / headDim, headDim, headDim];
  }
  const width = Math.sqrt(length);
  return [width, width];
}

/** Reads back what `statisticsToBundle` wrote. Throws 'file-malformed', naming what is missing or wrong. */
export function statisticsFromBundle(bundle: TensorBundle): CalibrationStatistics {
  const { metadata } = bundle;
  if (metadata.format !== statisticsFormat.format || metadata.version !== statisticsFormat.version) {
    throw malformed(
      `format ${statisticsFormat.format}, version ${statisticsFormat.version}`,
      `format ${metadata.format}, version ${metadata.version}`,
    );
  }
  const provenance = parseEntry<StatisticsProvenance>(metadata, 'provenance');
  const heads = parseEntry<Pick<LayerStatistics, 'layer' | 'tokenCount'>[]>(metadata, 'layers');
  if (typeof provenance?.modelId !== 'string' || !Array.isArray(heads) || !heads.every(isLayerHead)) {
    throw malformed('a model, and layers with the tokens of each', JSON.stringify([provenance, heads]).slice(0, 80));
  }
  const layers = heads.map(({ layer, tokenCount }) => {
    const arrays = momentFields.map((field) => [field, readArray(bundle, tensorName(layer, field))] as const);
    return { layer, tokenCount, ...Object.fromEntries(arrays) } as LayerStatistics;
  });
  return { provenance, layers };
}

function isLayerHead(head: unknown): boolean {
  const { layer, tokenCount } = Object(head) as Partial<LayerStatistics>;
  return Number.isSafeInteger(layer) && layer! >= 0 && Number.isSafeInteger(tokenCount) && tokenCount! > 0;
}

function readArray(bundle: TensorBundle, name: string): Float64Array {
  const tensor = bundle.tensors.get(name);
  if (!tensor) throw malformed(`a tensor ${name}`, 'none');
  const length = countElements(tensor.shape);
  if (!(tensor.data instanceof Float64Array) || tensor.data.length !== length) {
    throw malformed(`${length} F64 numbers in ${name}`, `${tensor.data.length} in ${tensor.data.constructor.name}`);
  }
  const bad = tensor.data.find((value) => !Number.isFinite(value));
  if (bad !== undefined) throw malformed(`finite numbers in ${name}`, String(bad));
  return tensor.data;
}

function parseEntry<Value>(metadata: Record<string, string>, name: string): Value {
  try {
    return JSON.parse(metadata[name] ?? '');
  } catch {
    throw malformed(`JSON in the metadata entry '${name}'`, String(metadata[name]));
  }
}

function malformed(expected: string, received: string): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected ${expected}, got ${received}`,
    hint: 'Collect the statistics again: this file was not written by this version of kvlr, or was damaged.',
    data: { expected, received },
  });
}
