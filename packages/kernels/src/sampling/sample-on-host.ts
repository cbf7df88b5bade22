import type { TensorInfo } from '@tensorflow/tfjs-core';
import { allocateOnHost, type HostBackend, hostFloats, hostWords } from '../host/host-heap.ts';
import type { KernelCall } from '../register/define-fused-kernel.ts';
import { sampleRow } from './sample-row.ts';
import type { SamplingAttributes, SamplingInputs } from './sampling-call.ts';

/** The wasm and cpu body of sampling. */
export function sampleOnHost(call: KernelCall<SamplingInputs, SamplingAttributes, HostBackend>): TensorInfo {
  const { inputs, attributes, backend } = call;
  const [batch, vocabulary] = inputs.logits.shape as [number, number];
  const result = allocateOnHost(backend, [batch], 'int32');
  const tokens = hostWords(backend, result);
  const logits = hostFloats(backend, inputs.logits);
  const history = inputs.history && hostWords(backend, inputs.history);
  const capacity = inputs.history?.shape[1] ?? 0;
  for (let row = 0; row < batch; row++) {
    const start = row * capacity;
    const past = history?.subarray(start, start + attributes.length) ?? [];
    const ofRow = logits.subarray(row * vocabulary, (row + 1) * vocabulary);
    tokens[row] = sampleRow(penalise(ofRow, past, attributes.repetitionPenalty), attributes, row);
    if (history) history[start + attributes.length] = tokens[row]!;
  }
  return result;
}

/** Makes past tokens less likely (Keskar et al. 2019): divides their logits, or multiplies those below zero. */
function penalise(logits: Float32Array, past: ArrayLike<number> & Iterable<number>, penalty: number): Float32Array {
  if (penalty === 1) return logits;
  const adjusted = logits.slice();
  for (const token of past) {
    if (token < 0 || token >= logits.length) continue;
    const logit = logits[token]!;
    adjusted[token] = logit > 0 ? logit / penalty : logit * penalty;
  }
  return adjusted;
}
