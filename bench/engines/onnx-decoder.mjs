// Runs in Node and in browsers: `ort` is onnxruntime-node or onnxruntime-web.
import { processorTime } from './processor-time.mjs';

/**
 * Decoding with ONNX Runtime as transformers.js does it: one run a token, what it returns as `present` goes into the next one as
 * `past_key_values`. `onGpu` leaves those on the GPU. The first `context` tokens are random numbers.
 */
export async function openOnnxDecoder(ort, model, { shape, context, tokens, sessionOptions, onGpu }) {
  const { numLayers, numKeyValueHeads, headDim } = shape;
  const caches = Array.from({ length: numLayers }, (_, layer) => [`${layer}.key`, `${layer}.value`]).flat();
  const locations = Object.fromEntries(caches.map((name) => [`present.${name}`, 'gpu-buffer']));
  const session = await ort.InferenceSession.create(model, {
    logSeverityLevel: 3,
    ...(onGpu && { preferredOutputLocation: locations }),
    ...sessionOptions,
  });
  const numbers = Float32Array.from({ length: numKeyValueHeads * context * headDim }, () => Math.random() - 0.5);
  const pastOf = () =>
    Object.fromEntries(
      caches.map((name) => [
        `past_key_values.${name}`,
        new ort.Tensor('float32', numbers, [1, numKeyValueHeads, context, headDim]),
      ]),
    );
  return {
    async decode() {
      let past = pastOf();
      let id = 1;
      const times = [];
      let processor;
      // As in kvlr's measurement, the first token is not timed.
      for (let step = 0; step <= tokens; step++) {
        if (step === 1) processor = processorTime();
        const started = performance.now();
        const length = context + step + 1;
        const { logits, ...present } = await session.run({
          input_ids: new ort.Tensor('int64', BigInt64Array.of(BigInt(id)), [1, 1]),
          attention_mask: new ort.Tensor('int64', new BigInt64Array(length).fill(1n), [1, length]),
          ...past,
        });
        id = argmax(logits.data);
        for (const tensor of Object.values(past)) if (tensor.location === 'gpu-buffer') tensor.dispose();
        past = Object.fromEntries(
          Object.entries(present).map(([name, tensor]) => [name.replace('present', 'past_key_values'), tensor]),
        );
        if (step > 0) times.push(performance.now() - started);
      }
      for (const tensor of Object.values(past)) if (tensor.location === 'gpu-buffer') tensor.dispose();
      return { times, processor: processor?.sinceThen(tokens) };
    },
    close: () => session.release(),
  };
}

function argmax(logits) {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
  return best;
}
