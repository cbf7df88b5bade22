import { negligible } from '../scaling.ts';

/** Whether two neighbours on the diagonal of a tridiagonal matrix hang together by no more than their own rounding errors. */
export function isNegligibleCoupling(coupling: number, before: number, after: number): boolean {
  return Math.abs(coupling) <= Number.EPSILON * (Math.abs(before) + Math.abs(after)) + negligible;
}
