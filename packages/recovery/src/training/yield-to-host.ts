/** Lets the host's timers and signals run: on wasm and cpu the reading of a result is no real wait. */
export function yieldToHost(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
