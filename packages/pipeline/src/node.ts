export { claimOutput, claimRunDirectory, type OutputClaim } from './node/claim-output.ts';
export { compareToDirectory, type DirectoryComparisonRequest } from './node/compare-to-directory.ts';
export {
  compressToDirectory,
  type DirectoryCompressionRequest,
  runDirectoryOf,
} from './node/compress-to-directory.ts';
export { DirectoryRunStore } from './node/directory-run-store.ts';
export { loadArchitecture } from './node/load-architecture.ts';
export { loadBudget } from './node/load-budget.ts';
export { loadGrouping } from './node/load-grouping.ts';
export { loadMethod } from './node/load-method.ts';
export { type DirectoryRecoveryRequest, recoverToDirectory } from './node/recover-to-directory.ts';
export { createWorkerPool, type WorkerPool } from './node/workers/create-worker-pool.ts';
