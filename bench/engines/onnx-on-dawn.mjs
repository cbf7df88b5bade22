import { onnxFiles } from '@kvlr/checkpoint';
import { openOnnxDecoder } from './onnx-decoder.mjs';

/** ONNX Runtime's build for browsers, on the WebGPU of this process: the same Dawn that kvlr runs on. */
async function importOnnxOnDawn() {
  copySharedViews();
  const ort = await import('onnxruntime-web/webgpu');
  ort.env.wasm.numThreads = 1;
  return ort;
}

/**
 * Decoding with it. `dtype` is 'F32' or 'F16', of weights, activations and cache: 'F16' needs a device with shader-f16, which Dawn shows
 * on NVIDIA with a switch alone.
 */
export async function openOnnxOnDawn(source, { dtype, ...settings }) {
  const ort = await importOnnxOnDawn();
  // Nothing else keeps Node waiting for Dawn's promises.
  const waiting = setInterval(() => {}, 1000);
  const sessionOptions = { executionProviders: ['webgpu'] };
  const common = { ...settings, shape: source.shape, sessionOptions, onGpu: true, isHalf: dtype === 'F16' };
  const decoder = await openOnnxDecoder(ort, await onnxBytes(source, dtype), common);
  return {
    ...decoder,
    async close() {
      await decoder.close();
      clearInterval(waiting);
    },
  };
}

async function onnxBytes(model, dtype) {
  const parts = [];
  for (const file of onnxFiles(model, { dtype })) {
    await file.write({ write: async (bytes) => void parts.push(Uint8Array.from(bytes)) });
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

let copies = false;

/** ONNX Runtime writes buffers from views of its shared memory, which WebGPU takes nowhere but in copies. */
function copySharedViews() {
  if (copies) return;
  copies = true;
  const { writeBuffer } = GPUQueue.prototype;
  GPUQueue.prototype.writeBuffer = function (buffer, offset, data, ...range) {
    const memory = ArrayBuffer.isView(data) ? data.buffer : data;
    const isShared = memory instanceof SharedArrayBuffer;
    return writeBuffer.call(
      this,
      buffer,
      offset,
      isShared ? copyOf(memory, data, range) : data,
      ...(isShared ? [] : range),
    );
  };
}

/** Offsets count elements of a typed array, and bytes of anything else. */
function copyOf(memory, data, [from = 0, count]) {
  const size = data.BYTES_PER_ELEMENT ?? 1;
  const start = (data.byteOffset ?? 0) + from * size;
  const length = count === undefined ? data.byteLength - from * size : count * size;
  return Uint8Array.from(new Uint8Array(memory, start, length));
}
