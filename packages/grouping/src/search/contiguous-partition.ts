/** Neighbours together: heads 0..size-1, then size..2*size-1, and so on. */
export function contiguousPartition(heads: number, size: number): number[][] {
  return Array.from({ length: heads / size }, (_, group) =>
    Array.from({ length: size }, (_, member) => group * size + member),
  );
}
