export type {
  AttentionReport,
  AttentionRow,
  BatchRow,
  BenchmarkedModel,
  BenchmarkReport,
  DecodeRow,
  EngineReport,
  EngineRow,
  PairedSpeedup,
  PrefillRow,
  SplitTime,
  TimeSummary,
} from './documents/benchmark-report.ts';
export type { CachePlan, PlannedCandidate } from './documents/cache-plan.ts';
export type {
  ComparisonReport,
  ComparisonRow,
  LayoutKind,
  MethodOrder,
  PairedDifference,
  RankedMethod,
} from './documents/comparison-report.ts';
export type {
  Alternative,
  Alternatives,
  CompressionReport,
  LayerHeads,
  LayerReconstruction,
  LayerSpectra,
  ReconstructionStep,
  ReportedModel,
  RunEnvironment,
  StageTiming,
  TextSample,
  TrainingCourse,
} from './documents/compression-report.ts';
export {
  bestWithin,
  type FrontierPoint,
  type FrontierReport,
  paretoFront,
  shareOf,
} from './documents/frontier-report.ts';
export type { LongContextReport, LongContextRow } from './documents/long-context-report.ts';
export type {
  PairedTaskDifference,
  TaskCondition,
  TaskDisagreement,
  TaskReport,
  TaskRow,
} from './documents/task-report.ts';
export { formatWorkTime, layoutKind } from './format/describe.ts';
export {
  formatBytes,
  formatChange,
  formatCount,
  formatDuration,
  formatExactBytes,
  formatMeasurement,
  formatRatio,
} from './format/format.ts';
export { comparisonHtml, compressionHtml } from './html/report-pages.ts';
export { taskHtml } from './html/task-page.ts';
export { modelCard } from './markdown/model-card.ts';
export {
  attentionMarkdown,
  benchmarkMarkdown,
  comparisonMarkdown,
  compressionMarkdown,
  engineMarkdown,
  frontierMarkdown,
  longContextMarkdown,
} from './markdown/report-markdown.ts';
export { cacheSvg } from './plots/cache-plot.ts';
export { comparisonSvg } from './plots/comparison-plot.ts';
export { frontierSvg } from './plots/frontier-plot.ts';
export { type TrainingSteps, trainingStepsSvg } from './plots/steps-plot.ts';
export { effectiveRank, energyShare } from './tables/energy-table.ts';
