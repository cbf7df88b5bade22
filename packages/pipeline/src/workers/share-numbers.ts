/** A copy in memory that threads share: it crosses to them without being copied again. */
export function shareNumbers(numbers: Float64Array): Float64Array {
  const shared = new Float64Array(new SharedArrayBuffer(numbers.byteLength));
  shared.set(numbers);
  return shared;
}

/** An object whose Float64 arrays are copied to shared memory. */
export function shareFields<Fields extends object>(fields: Fields): Fields {
  const shared = Object.entries(fields).map(([name, value]) => [
    name,
    value instanceof Float64Array ? shareNumbers(value) : value,
  ]);
  return Object.fromEntries(shared) as Fields;
}
