export { claimOutput, claimRunDirectory, type OutputClaim, type OutputRequest } from './node/claim-output.ts';
export { DirectoryRunStore } from './node/directory-run-store.ts';
export { loadArchitecture } from './node/load-architecture.ts';
export { loadBudget, loadCache, loadGrouping, loadMethod } from './node/load-plugins.ts';
export { onnxEngine } from './node/onnx-engine.ts';
export { mergeResultFiles } from './node/result-files.ts';
export { spilledStreams } from './node/spilled-streams.ts';
export {
  calibrateToDirectory,
  type DirectoryCalibrationRequest,
  mergeStatisticsDirectories,
  openStatistics,
} from './node/statistics-directory.ts';
export {
  type ComparisonDirectory,
  compareBytesToDirectory,
  compareToDirectory,
  compressToDirectory,
  type DirectoryBytesRequest,
  type DirectoryCachePlanRequest,
  type DirectoryComparisonRequest,
  type DirectoryCompressionRequest,
  type DirectoryRecoveryRequest,
  type OutputSettings,
  type PlannedCompression,
  planCacheToDirectory,
  planCompressionToDirectory,
  planRecoveryToDirectory,
  recoverToDirectory,
  runDirectoryOf,
} from './node/to-directory.ts';
export { createWorkerPool, type WorkerPool } from './node/worker-pool.ts';
