export { type NodeRuntime, prepareNodeRuntime } from './node/prepare-node-runtime.ts';
