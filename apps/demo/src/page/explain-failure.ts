import type { Failure } from '../protocol/messages.ts';

/** What to do about errors whose own advice is for programmers. */
const remedies: Readonly<Record<string, string>> = {
  'backend-unavailable':
    'Choose WASM or auto. WebGPU takes a current browser, and a graphics card that it lets pages use.',
  'device-lost': 'The graphics card was taken away or reset. Try again, or choose WASM.',
  'memory-exceeded': 'Close other pages, or choose WASM.',
};

/** An error in words for visitors: without the name of the function that met it, and with what to do here. */
export function explainFailure({ code, message, hint }: Failure): { message: string; hint: string } {
  const sentence = message.replace(/^\w+(\.\w+)?: /, '');
  return {
    message: sentence.charAt(0).toUpperCase() + sentence.slice(1),
    hint: remedies[code] ?? hint ?? 'Try again, or load the page again.',
  };
}
