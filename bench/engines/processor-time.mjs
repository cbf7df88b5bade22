/**
 * Processor time of this process, all threads together, from now on: what a token costs however busy the machine is. Undefined in
 * browsers. `sinceThen(tokens)` gives milliseconds a token.
 */
export function processorTime() {
  const usage = globalThis.process?.cpuUsage;
  if (usage === undefined) return undefined;
  const before = usage();
  return {
    sinceThen(tokens) {
      const { user, system } = usage(before);
      return (user + system) / 1000 / tokens;
    },
  };
}
