/** How many numbers a tensor of this shape holds: 1 for a scalar, whose shape is empty. */
export function countElements(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
