import { findOnnxRuntime, loadOnnxModel } from '@kvlr/engine-onnx';
import type { NativeEngine } from '../models/engine.ts';

/** ONNX Runtime on the CPU, of the package onnxruntime-node, where users have it installed. One thread a processor core. */
export const onnxEngine: NativeEngine = {
  name: 'onnx',
  look: findOnnxRuntime,
  load: (source) => loadOnnxModel(source),
};
