import { type CalibrationStatistics, KvlrError, type LayerStatistics, type StatisticsProvenance } from '@kvlr/core';
import { momentFields } from './statistics-bundle.ts';

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

function mergeLayers(parts: readonly LayerStatistics[]): LayerStatistics {
  const tokenCount = parts.reduce((sum, part) => sum + part.tokenCount, 0);
  const merged: LayerStatistics = { ...parts[0]!, tokenCount };
  for (const field of momentFields) {
    const mean = new Float64Array(merged[field].length);
    for (const part of parts) {
      const weight = part.tokenCount / tokenCount;
      const values = part[field];
      for (let i = 0; i < mean.length; i++) mean[i]! += weight * values[i]!;
    }
    merged[field] = mean;
  }
  return merged;
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
