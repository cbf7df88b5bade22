export { loadModel, type OpenModelSettings } from './node/load-model.ts';
export {
  dawnExactTimestamps,
  dawnF16OnNvidia,
  type NodeRuntime,
  type NodeRuntimeSettings,
  prepareNodeRuntime,
} from './node/prepare-node-runtime.ts';
