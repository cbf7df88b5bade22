// Runs in Node and in browsers: `ort` is onnxruntime-node or onnxruntime-web.
import { processorTime } from './processor-time.mjs';

/**
 * Decoding with ONNX Runtime as transformers.js does it: one run a token, what it returns as `present` goes into the next one as
 * `past_key_values`. `onGpu` leaves those on the GPU, `isHalf` says that they are halves. The first `context` tokens are random numbers.
 */
export async function openOnnxDecoder(ort, model, { shape, context, tokens, sessionOptions, onGpu, isHalf = false }) {
  const { numLayers, numKeyValueHeads, headDim } = shape;
  const caches = Array.from({ length: numLayers }, (_, layer) => [`${layer}.key`, `${layer}.value`]).flat();
  const locations = Object.fromEntries(caches.map((name) => [`present.${name}`, 'gpu-buffer']));
  const session = await ort.InferenceSession.create(model, {
    logSeverityLevel: 3,
    ...(onGpu && { preferredOutputLocation: locations }),
    ...sessionOptions,
  });
  const count = numKeyValueHeads * context * headDim;
  // Halves between 1/8 and 1/4, of either sign.
  const halves = () =>
    Uint16Array.from(
      { length: count },
      () => 0x3000 + Math.floor(Math.random() * 0x400) + (Math.random() < 0.5 ? 0x8000 : 0),
    );
  const numbers = isHalf ? halves() : Float32Array.from({ length: count }, () => Math.random() - 0.5);
  const pastOf = (entries = context) =>
    Object.fromEntries(
      caches.map((name) => {
        const values = numbers.subarray(0, numKeyValueHeads * entries * headDim);
        const tensor = new ort.Tensor(isHalf ? 'float16' : 'float32', values, [1, numKeyValueHeads, entries, headDim]);
        return [`past_key_values.${name}`, tensor];
      }),
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
    /** Milliseconds of a prompt from an empty cache to the token behind it. */
    async prefill(promptTokens) {
      const ids = BigInt64Array.from({ length: promptTokens }, (_, n) => BigInt(n % shape.vocabSize));
      const started = performance.now();
      const { logits, ...present } = await session.run({
        input_ids: new ort.Tensor('int64', ids, [1, promptTokens]),
        attention_mask: new ort.Tensor('int64', new BigInt64Array(promptTokens).fill(1n), [1, promptTokens]),
        ...pastOf(0),
      });
      argmax(logits.data.subarray(-shape.vocabSize));
      const milliseconds = performance.now() - started;
      for (const tensor of Object.values(present)) if (tensor.location === 'gpu-buffer') tensor.dispose();
      return milliseconds;
    },
    close: () => session.release(),
  };
}

function argmax(logits) {
  // Bits of halves in the order of numbers.
  const orderOf = logits instanceof Uint16Array ? (bits) => (bits & 0x8000 ? 0xffff - bits : bits + 0x8000) : Number;
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (orderOf(logits[id]) > orderOf(logits[best])) best = id;
  return best;
}
