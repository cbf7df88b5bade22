export { loadModel, type OpenModelSettings } from './node/load-model.ts';
export { type NodeRuntime, type NodeRuntimeSettings, prepareNodeRuntime } from './node/prepare-node-runtime.ts';
