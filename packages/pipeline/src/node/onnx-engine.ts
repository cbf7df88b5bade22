import {
  findOnnxRuntime,
  loadOnnxModel,
  loadOnnxTrainedBlock,
  loadOnnxTrainingModel,
  OnnxDecoder,
} from '@kvlr/engine-onnx';
import type { NativeEngine } from '../models/engine.ts';

/** ONNX Runtime on the CPU, of the package onnxruntime-node, where users have it installed. */
function createOnnxEngine(threads?: number): NativeEngine {
  return {
    name: 'onnx',
    look: findOnnxRuntime,
    load: (source) => loadOnnxModel(source, { threads }),
    training: {
      load: (source, roles, { signal }) => loadOnnxTrainingModel(source, roles, { threads, signal }),
      loadBlock: (source, layer, roles) => loadOnnxTrainedBlock(source, layer, roles, { threads }),
    },
    async open(source) {
      const decoder = await OnnxDecoder.open(source, { threads });
      // One part is loaded at a time: with it goes what ONNX Runtime holds for it.
      const dispose = () => decoder.close();
      return {
        loadLayer: async (layer) => ({ ...(await decoder.loadLayer(layer)), dispose }),
        loadHead: async () => ({ ...(await decoder.loadHead()), dispose }),
      };
    },
  };
}

/** For one window after another: products take one thread a processor core. */
export const onnxEngine = createOnnxEngine();

/** For threads that run windows side by side: each has one core. */
export const onnxEngineOfWorker = createOnnxEngine(1);
