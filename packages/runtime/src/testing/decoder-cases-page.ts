// Runs in a page: `decoder-cases-in-chromium.test.ts` calls what it exports.
import { type CaseResult, decoderCases, runDecoderCase, sampleTokens } from './decoder-cases.ts';

/** Runs one of `decoderCases` on WebGPU. */
export function runCaseOnGpu(name: string): Promise<CaseResult> {
  return runDecoderCase(decoderCases.find((given) => given.name === name)!, 'webgpu');
}

export function sampleTokensOnGpu(): Promise<number[]> {
  return sampleTokens('webgpu');
}

export { runRecordedCase } from './recorded-cases.ts';
