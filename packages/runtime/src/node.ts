export { loadModel, type OpenModelSettings } from './node/load-model.ts';
export { type NodeRuntime, prepareNodeRuntime } from './node/prepare-node-runtime.ts';
