/** For graphs of one's own: nodes, constants and inputs become an ONNX file. */
export { graphFile, type OnnxFile } from './onnx/files.ts';
export type { OnnxAttribute, OnnxGraph, OnnxNode } from './onnx/format.ts';
export { GraphBuilder, plainTensor } from './onnx/graph.ts';
