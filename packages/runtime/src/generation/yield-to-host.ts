/**
 * Waits for one turn of the event loop, so that timers, signals and painting get through: on wasm and cpu the reading of
 * a result is no real wait. setTimeout would be held back to 4 ms in browsers.
 */
export function yieldToHost(): Promise<void> {
  const { setImmediate } = globalThis as { setImmediate?: (resume: () => void) => void };
  if (setImmediate !== undefined) return new Promise((resolve) => setImmediate(resolve));
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    Object.assign(port1, {
      onmessage: () => {
        port1.close();
        resolve();
      },
    });
    port2.postMessage(undefined);
  });
}
