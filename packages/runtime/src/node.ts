export { type NodeRuntime, prepareNodeRuntime } from './backends/prepare-node-runtime.ts';
