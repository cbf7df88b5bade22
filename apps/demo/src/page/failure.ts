import type { Failure } from '../messages.ts';

/** What to do about errors whose own advice is for programmers. */
const hints: Readonly<Record<string, string>> = {
  'backend-unavailable':
    'Choose WASM or auto. WebGPU takes a current browser, and a graphics card that it lets pages use.',
  'device-lost': 'The graphics card was taken away or reset. Try again, or go on with WASM.',
  'memory-exceeded':
    'Close other pages, keep less of the cache, or take a smaller model. The command line has all of the machine’s memory: npx kvlr compress.',
};

/** Failures after which WASM, which asks little of a machine, is a way on. */
const helpedByWasm = ['backend-unavailable', 'device-lost', 'unexpected', 'worker'];

/** An error as a sentence for visitors, with what to do here. */
export function explainFailure({ code, message, hint }: Failure): { message: string; hint: string; wasm: boolean } {
  return {
    message: message.charAt(0).toUpperCase() + message.slice(1),
    hint: hints[code] ?? hint ?? 'Try again, or load the page again.',
    wasm: helpedByWasm.includes(code),
  };
}
