// Runs in a page: `decoder-cases-in-chromium.test.ts` calls what it exports.
import { type CaseResult, decoderCases, drawTokens, runDecoderCase } from './decoder-cases.ts';

/** Runs one of `decoderCases` on WebGPU. */
export function runCaseOnGpu(name: string): Promise<CaseResult> {
  return runDecoderCase(decoderCases.find((given) => given.name === name)!, 'webgpu');
}

export function drawTokensOnGpu(): Promise<number[]> {
  return drawTokens('webgpu');
}
