export { claimOutput, type OutputClaim } from './node/claim-output.ts';
export {
  compressToDirectory,
  type DirectoryCompressionRequest,
  runDirectoryOf,
} from './node/compress-to-directory.ts';
export { DirectoryRunStore } from './node/directory-run-store.ts';
export { loadGrouping } from './node/load-grouping.ts';
