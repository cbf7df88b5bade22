import type { DecoderShape, EvaluationResult } from '@kvlr/core';
import type { LayerReconstruction } from './layer-reconstruction.ts';
import type { LayerSpectra } from './layer-spectra.ts';
import type { ReportedModel } from './reported-model.ts';
import type { RunEnvironment } from './run-environment.ts';

/** Time one stage of the run took. */
export interface StageTiming {
  title: string;
  /** In this run. */
  seconds: number;
  /** In earlier runs, for what was taken over from them; null where they kept no record of it. */
  earlierSeconds?: number | null;
  /** True when the stage was taken over from an earlier run. */
  skipped?: boolean;
}

/** Everything that a report on one compressed checkpoint shows: plain data, ready for JSON. */
export interface CompressionReport {
  title: string;
  /** The model before compression. */
  model: ReportedModel;
  /** Shape of the compressed model. */
  resultShape: DecoderShape;
  /** Both were measured on the same windows. `result.againstBase` carries KL and agreement. */
  base: EvaluationResult;
  result: EvaluationResult;
  /** Context lengths, tokens, at which the size of the cache is shown. */
  contexts: number[];
  /** The recipe as it was run; nested values are shown by their path. */
  recipe: Record<string, unknown>;
  stages: StageTiming[];
  environment: RunEnvironment;
  spectra?: LayerSpectra[];
  reconstruction?: LayerReconstruction[];
  /** What a reader has to know, one sentence each: a light reconstruction, warnings of the run. */
  notes?: string[];
}
