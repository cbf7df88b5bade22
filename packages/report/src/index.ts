export type { AttentionReport, AttentionRow } from './documents/attention-report.ts';
export type {
  BatchRow,
  BenchmarkedModel,
  BenchmarkReport,
  DecodeRow,
  PairedSpeedup,
  PrefillRow,
  TimeSummary,
} from './documents/benchmark-report.ts';
export type {
  ComparisonReport,
  ComparisonRow,
  MethodOrder,
  PairedDifference,
  RankedMethod,
} from './documents/comparison-report.ts';
export type { CompressionReport, StageTiming } from './documents/compression-report.ts';
export type { EngineReport, EngineRow } from './documents/engine-report.ts';
export type { LayerReconstruction, ReconstructionStep } from './documents/layer-reconstruction.ts';
export type { LayerSpectra } from './documents/layer-spectra.ts';
export type { ReportedModel } from './documents/reported-model.ts';
export type { RunEnvironment } from './documents/run-environment.ts';
export { formatBytes, formatExactBytes } from './format/format-bytes.ts';
export { formatDuration } from './format/format-duration.ts';
export { formatMeasurement } from './format/format-measurement.ts';
export { formatRatio } from './format/format-ratio.ts';
export { formatWorkTime } from './format/format-work-time.ts';
export { type LayoutKind, layoutKind } from './format/layout-kind.ts';
export { comparisonHtml } from './html/comparison-html.ts';
export { compressionHtml } from './html/compression-html.ts';
export { benchmarkMarkdown } from './markdown/benchmark-markdown.ts';
export { comparisonMarkdown } from './markdown/comparison-markdown.ts';
export { compressionMarkdown } from './markdown/compression-markdown.ts';
export { attentionMarkdown, engineMarkdown } from './markdown/measurement-markdown.ts';
export { modelCard } from './markdown/model-card.ts';
export { cacheSvg, comparisonSvg } from './plots/export-svg.ts';
export { effectiveRank } from './tables/effective-rank.ts';
export { energyShare } from './tables/energy-share.ts';
