/** Wraps a computation that several may need, or none, so that it is done at most once. */
export function once<Value>(compute: () => Promise<Value>): () => Promise<Value> {
  let pending: Promise<Value> | undefined;
  return () => {
    pending ??= compute();
    return pending;
  };
}
