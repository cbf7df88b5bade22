import type { Matrix } from '@kvlr/linalg';

/** Sum of the products of the entries, tr(left^T right). */
export function innerProduct(left: Matrix, right: Matrix): number {
  return left.data.reduce((sum, value, index) => sum + value * right.data[index]!, 0);
}
