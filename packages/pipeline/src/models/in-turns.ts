/**
 * A gate that lets this many works run at once; the others wait their turn in the order in which they came. A work that fails lets the
 * next one through.
 */
export function inTurns(most: number): <Value>(work: () => Promise<Value>) => Promise<Value> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (work) => {
    if (running === most) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      // The place is handed on, so that nobody comes in between.
      if (next) next();
      else running--;
    }
  };
}
