export { CalibrationText, type SampleSettings, type SplitSettings, type SplitWindows } from './calibration-text.ts';
export { type CalibrationRequest, collectStatistics, LayerMoments, momentTaps } from './collect-statistics.ts';
export type { ParquetRows } from './parquet/decode-parquet.ts';
export { type ParquetLimits, readParquet } from './parquet/read-parquet.ts';
export { mergeLayers, mergeStatistics, statisticsFromBundle, statisticsToBundle } from './statistics.ts';
export { encodeDocuments, hashTexts, readTexts, type TextDocument, type TextFile } from './text.ts';
export {
  maxTextBytes,
  readTextFiles,
  requireTextSize,
  type TextFileBytes,
  type TextFileSettings,
} from './text-files.ts';
export { type SourceWindow, type SourceWindowSettings, type TextPurpose, windowsBySource } from './windows.ts';
